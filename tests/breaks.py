"""Deliberate breaks: would the crash tests notice? Run by hand; it takes a while.

    python -m tests.breaks [WORD ...]        all breaks, or those whose names hold one of the words
        --part 1/2                           every second of these, for two that run side by side
        --only breaks                        not the same tests unbroken, or with `--only unbroken` nothing else
        --output tests/BREAKS.md             write what came of them into the table there

Each break is made in a copy of this checkout and the tests that are to notice it run there. It is caught only if every one of them fails,
and says what the break wants to hear: a test that cannot begin, is missing, or fails of something else has noticed nothing. Unbroken, all
of them have to pass. At the end, every test of the crash tests' modules must have been turned red by some break.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests import break_table
from tests.break_table import Line
from tests.broken import BREAKS
from tests.broken_promises import Break

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
) + tuple(
    f"tests/operation/test_{module}.py::test_{test}"
    for module, test in (
        ("backup", "a_killed_restore_leaves_the_old_or_the_new_whole"),
        ("many_collectors", "sixteen_clients_and_the_same_few_people_at_once"),
        ("init", "a_command_says_in_one_line_that_the_disk_is_full"),
        ("room", "where_the_disk_has_too_little_it_is_refused_and_the_round_goes_on"),
        ("room", "where_it_turns_out_to_be_full_the_round_goes_on_and_the_log_gives_the_room_back"),
        ("room", "both_on_one_disk_have_to_fit_together"),
        ("room", "the_disk_for_temporary_files_is_asked_too"),
    )
)
"""The files of crash tests, and of others the tests that are about a kill, a full disk or many at once."""
_LINES = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a test: `kind` is passed, failed, error (it did not come to its end, or to its beginning) or skipped."""

    kind: str
    said: str = ""
    """Why it failed: the statement that raised, and what."""
    seconds: float = 0


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
        seconds = float(case.get("time", 0))
        told = [part for kind in ("failure", "error", "skipped") for part in case.iter(kind)]
        if not told:
            found.setdefault(name, Outcome("passed", seconds=seconds))
        elif found.get(name, ABSENT).kind != "failed":
            kind = {"failure": "failed"}.get(told[0].tag, told[0].tag)
            found[name] = Outcome(kind, _said(told[0].text or ""), seconds)
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


class Table:
    """Where what is known of all breaks is written down, with every one that has run."""

    def __init__(self, path: Path | None, folder: Path, every: list[str]) -> None:
        self._path = path
        self._every = every
        self._states = {
            (one.name, test): break_table.state_of(folder, one, test, says)
            for one in BREAKS
            for test, says in ((chosen(every, pattern), says) for pattern, says in one.tests.items())
        }

    def note(self, one: Break, says: Mapping[str, str], missed: Mapping[str, str], found: Mapping[str, Outcome]) -> None:
        """Write down what the tests of a break did."""
        lines = {}
        for test, text in says.items():
            outcome = found.get(test, ABSENT)
            what = "red" if test not in missed else "failed of something else" if outcome.kind == "failed" else outcome.kind
            said, seconds = break_table.shown(outcome.said, text), f"{outcome.seconds:.0f}"
            lines[one.name, test] = Line(one.name, test, what, said, seconds=seconds, state=self._states[one.name, test])
        self._write(lines)

    def note_unbroken(self, found: Mapping[str, Outcome], breaks: Collection[Break]) -> None:
        """Write down what tests did without a break, beside what they did in these."""
        names = {one.name for one in breaks}
        known = {} if self._path is None else break_table.read(self._path)
        self._write({k: replace(line, unbroken=found[k[1]].kind) for k, line in known.items() if k[0] in names and k[1] in found})

    def _write(self, lines: dict[tuple[str, str], Line]) -> None:
        if self._path is not None:  # read again each time: another part may write there
            known = break_table.read(self._path) | lines
            present = [known.get(key, Line(*key)) for key in self._states]
            break_table.write(self._path, [line.checked(self._states[line.name, line.test]) for line in present], self._every)


def arguments() -> argparse.Namespace:
    """Return what is asked for on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--only", choices=["breaks", "unbroken"])
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> int:
    """Run the breaks and print what came of them."""
    asked = arguments()
    part, parts = map(int, asked.part.split("/"))
    breaks = [one for one in BREAKS if not asked.words or any(word in one.name for word in asked.words)][part - 1 :: parts]
    good = True
    with tempfile.TemporaryDirectory(prefix="leadlight-breaks-") as name:
        every = names(copy(Path(name) / "unbroken"))
        table = Table(asked.output, Path(name) / "unbroken", every)
        for number, one in enumerate(breaks):
            broken(copy(Path(name) / str(number)), one)  # what cannot be made is said before anything runs
        red: set[str] = set()
        for number, one in enumerate(breaks if asked.only != "unbroken" else []):
            began = time.monotonic()
            says = {chosen(every, pattern): text for pattern, text in one.tests.items()}
            found = run(Path(name) / str(number), list(says))
            missed = judged(says, found)
            red |= says.keys() - missed.keys()
            good = good and not missed
            table.note(one, says, missed, found)
            print(f"{'MISSED' if missed else 'caught'}  {one.name} ({time.monotonic() - began:.0f} s)", flush=True)
            for test in says:
                said = found.get(test, ABSENT).said.splitlines()[:_LINES]
                print(f"        {missed.get(test, 'red')}  {test}", *(f"            {line[:160]}" for line in said), sep="\n", flush=True)
        wanted = [] if asked.only == "breaks" else sorted({chosen(every, pattern) for one in breaks for pattern in one.tests})
        found = run(Path(name) / "unbroken", wanted) if wanted else {}
        table.note_unbroken(found, breaks)
        for test in wanted:
            if found.get(test, ABSENT).kind != "passed":
                good = False
                print(f"NOT GREEN without a break: {test}", flush=True)
        for test in [] if asked.words or parts > 1 or asked.only == "unbroken" else sorted(set(every) - red):
            good = False
            print(f"NO BREAK turns this red: {test}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
