"""Deliberate breaks: would the crash tests notice? Run by hand; it takes a while.

    python -m tests.breaks [WORD ...]        all breaks, or those whose names hold one of the words

Each break is made in a copy of this checkout and the tests that are to notice it run there; it is caught only if every one of them
fails. Unbroken, all of them have to pass. At the end, every test of the crash tests' modules must have been turned red by some break.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
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
    )
)


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


def run(folder: Path, arguments: list[str]) -> dict[str, str]:
    """Run tests in a copy and return the outcome of each by its name."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "--show-capture=no", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = {name: outcome for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) (tests/\S+::\S+.*?)(?: - .*)?$", done.stdout, re.M)}
    if not found:
        raise SystemExit(f"no tests ran:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return found


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
        outcomes = run(Path(name) / "unbroken", wanted)
        for test in wanted:
            if outcomes.get(test) != "PASSED":
                good = False
                print(f"NOT GREEN without a break: {test}", flush=True)
        red: set[str] = set()
        for number, one in enumerate(breaks):
            began = time.monotonic()
            tests = [chosen(every, pattern) for pattern in one.tests]
            outcomes = run(Path(name) / str(number), tests)
            passed = [test for test in tests if outcomes.get(test) == "PASSED"]
            red.update(set(tests) - set(passed))
            good = good and not passed
            print(f"{'MISSED' if passed else 'caught'}  {one.name} ({time.monotonic() - began:.0f} s)", flush=True)
            for test in tests:
                print(f"        {'green' if test in passed else 'red  '} {test}", flush=True)
        for test in [] if words else sorted(set(every) - red):
            good = False
            print(f"NO BREAK turns this red: {test}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
