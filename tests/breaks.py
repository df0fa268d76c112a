"""Deliberate breaks: would the crash tests notice? Run by hand; it takes a while.

    python -m tests.breaks [WORD ...]        all breaks, or those whose names hold one of the words

Each break is made in a copy of this checkout and the tests that are to notice it run there. It is caught only if every one of them fails,
and says what the break wants to hear: a test that cannot begin, is missing, or fails of something else has noticed nothing. Unbroken, all
of them have to pass. At the end, every test of the crash tests' modules must have been turned red by some break.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.broken import BREAKS, Break

ROOT = Path(__file__).resolve().parents[1]
MODULES = tuple(
    f"tests/operation/test_{name}.py"
    for name in (
        "durability",
        "outages",
        "disk",
        "failover",
        "overload",
        "poison",
        "workers",
        "writer_processes",
        "bodies",
        "killed_at_work",
        "killed_in_a_commit",
    )
)
_LINES = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a test: `kind` is passed, failed, error (it did not come to its end, or to its beginning) or skipped."""

    kind: str
    said: str = ""
    """Why it failed: the statement that raised, and what."""


ABSENT = Outcome("absent")


def copy(folder: Path) -> Path:
    """Copy what belongs to the checkout, whether committed yet or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def run(folder: Path, arguments: list[str]) -> dict[str, Outcome]:
    """Run tests in a copy and return the outcome of each by its name."""
    report = folder / "outcomes.xml"
    options = ["-q", "--tb=short", "--show-capture=no", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run([sys.executable, "-m", "pytest", *options, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    found = outcomes(report.read_text("utf-8")) if report.exists() else {}
    if not found:
        raise SystemExit(f"no tests ran:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return found


def outcomes(report: str) -> dict[str, Outcome]:
    """Read what pytest wrote down in JUnit's XML. A test that failed and whose fixtures failed after it has failed."""
    found: dict[str, Outcome] = {}
    for case in ET.fromstring(report).iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        told = [part for kind in ("failure", "error", "skipped") for part in case.iter(kind)]
        if not told:
            found.setdefault(name, Outcome("passed"))
        elif found.get(name, ABSENT).kind != "failed":
            kind = {"failure": "failed"}.get(told[0].tag, told[0].tag)
            found[name] = Outcome(kind, _said(told[0].text or ""))
    return found


def _said(told: str) -> str:
    """Return of a traceback what was raised, and the statement that raised it: no other line of the code."""
    lines = [line for line in told.splitlines() if line.strip("^ ")]  # but for marks under a statement
    raised = [line.startswith("E  ") for line in lines]
    statements = [*raised[1:], False]
    return "\n".join(line.removeprefix("E").strip() for line, *kept in zip(lines, raised, statements, strict=True) if any(kept))


def is_noticed(outcome: Outcome, says: str) -> bool:
    """Say whether a test has noticed a break: it failed, and said so (a regular expression)."""
    return outcome.kind == "failed" and re.search(says, outcome.said) is not None


def judged(wanted: Mapping[str, str], found: Mapping[str, Outcome]) -> dict[str, str]:
    """Return in words, for each test that did not notice what it was to, what it did instead."""
    missed: dict[str, str] = {}
    for test, says in wanted.items():
        outcome = found.get(test, ABSENT)
        if not is_noticed(outcome, says):
            missed[test] = f"{outcome.kind}, not failed of {says!r}" if outcome.kind != "passed" else "green"
    return missed


def names(folder: Path) -> list[str]:
    """Return the names of all crash tests."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *MODULES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def chosen(every: list[str], pattern: str) -> str:
    """Return the one test that a pattern of a break means."""
    module, _, part = pattern.partition("::")
    word, _, engine = part.partition("[")
    found = [name for name in every if f"test_{module}.py" in name and word in name and name.endswith(engine)]
    if len(found) != 1:
        raise SystemExit(f"{pattern} means {len(found)} tests: {found}")
    return found[0]


def broken(folder: Path, one: Break) -> None:
    """Make the edits of a break."""
    for name, old, new in one.edits:
        path = folder / name
        text = path.read_text("utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{one.name}: the text to replace stands {text.count(old)} times in {name}:\n{old}")
        path.write_text(text.replace(old, new), "utf-8")


def main() -> int:
    """Run the breaks and print the table."""
    words = sys.argv[1:]
    breaks = [one for one in BREAKS if not words or any(word in one.name for word in words)]
    good = True
    with tempfile.TemporaryDirectory(prefix="leadlight-breaks-") as name:
        every = names(copy(Path(name) / "unbroken"))
        wanted = sorted({chosen(every, pattern) for one in breaks for pattern in one.tests})
        for number, one in enumerate(breaks):
            broken(copy(Path(name) / str(number)), one)  # what cannot be made is said before anything runs
        found = run(Path(name) / "unbroken", wanted)
        for test in wanted:
            if found.get(test, ABSENT).kind != "passed":
                good = False
                print(f"NOT GREEN without a break: {test}", flush=True)
        red: set[str] = set()
        for number, one in enumerate(breaks):
            began = time.monotonic()
            says = {chosen(every, pattern): text for pattern, text in one.tests.items()}
            found = run(Path(name) / str(number), list(says))
            missed = judged(says, found)
            red |= says.keys() - missed.keys()
            good = good and not missed
            print(f"{'MISSED' if missed else 'caught'}  {one.name} ({time.monotonic() - began:.0f} s)", flush=True)
            for test in says:
                said = found.get(test, ABSENT).said.splitlines()[:_LINES]
                print(f"        {missed.get(test, 'red')}  {test}", *(f"            {line[:160]}" for line in said), sep="\n", flush=True)
        for test in [] if words else sorted(set(every) - red):
            good = False
            print(f"NO BREAK turns this red: {test}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
