"""The table of what noticed the deliberate breaks (`BREAKS.md`): read, and written anew with what has just run."""

import ast
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.broken_promises import Break

HEAD = """# Deliberate breaks, and what noticed them

Repeat it with `make breaks`, which runs each break that `tests/broken*.py` name and writes their lines anew. `.venv/bin/python -m
tests.breaks --output tests/BREAKS.md WORD` runs those whose names hold the word, with `--part 1/2` every second one, so that two
parts can run side by side; the other lines stay.

A line is a test that has to notice a break. It is *red* where it failed and said what the break wants to hear: *said* is the line of it
that did, the statement that failed or what that raised. Whatever else stands there has noticed nothing. *Unbroken* is what the same test
did without a break, *s* how many seconds it took until it was red. *State* stands for the break's edits, what it wants to hear and the
test's own lines: where any of these has changed since, a line is *stale*; *not run* are those that never ran.
"""
NOT_RUN, STALE = "not run", "stale"
_COLUMNS = ("break", "test", "outcome", "said", "unbroken", "s", "state")
_PLACES = re.compile(r"(?<![\w.])/(?:tmp|dev|var|work|home|root|usr)/[^\s'\",)]*")
_LONGEST = 120


@dataclass(frozen=True)
class Line:
    """One test that has to notice one break, and what came of it."""

    name: str
    test: str
    outcome: str = NOT_RUN
    said: str = ""
    unbroken: str = NOT_RUN
    seconds: str = ""
    state: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in the columns."""
        return self.name, self.test, self.outcome, self.said, self.unbroken, self.seconds, self.state

    def checked(self, state: str) -> "Line":
        """Return it as it is to be read where what it is about is in this state now."""
        return self if self.outcome == NOT_RUN or self.state == state else replace(self, outcome=STALE)


def state_of(root: Path, one: Break, test: str, says: str) -> str:
    """Name what an outcome is true of: the edits, what the test has to say, and its own lines."""
    file, _, name = test.partition("[")[0].partition("::")
    text = (root / file).read_text("utf-8")
    (found,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name)
    lines = ast.get_source_segment(text, found)
    return hashlib.sha256(repr((one.edits, says, lines)).encode()).hexdigest()[:8]


def shown(said: str, says: str) -> str:
    """Return the first line that says what was to be said, else the first, without places on this machine."""
    lines = said.splitlines()
    line = next((line for line in lines if re.search(says, line)), lines[0] if lines else "")
    line = _PLACES.sub("…", line).replace("`", "'")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def read(path: Path) -> dict[tuple[str, str], Line]:
    """Return the lines of a table by break and test."""
    found: dict[tuple[str, str], Line] = {}
    for text in path.read_text("utf-8").splitlines() if path.exists() else ():
        if text.startswith("| ") and not text.startswith(f"| {_COLUMNS[0]} | {_COLUMNS[1]} |"):
            cells = [cell.strip().strip("`").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", text)[1:-1]]
            line = Line(*cells)
            found[line.name, line.test] = line
    return found


def write(path: Path, known: Iterable[Line], every: Sequence[str]) -> None:
    """Write a table of these lines, and which of all tests none of them turned red."""
    lines = list(known)
    red = {line.test for line in lines if line.outcome == "red"}
    count = {what: sum(line.outcome.startswith(what) for line in lines) for what in ("red", STALE, NOT_RUN)}
    others = sorted(set(every) - red)
    table = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}", *map(_text, lines)]
    names = {line.name for line in lines}
    told = f"{len(names)} breaks, {len(lines)} lines: {count['red']} red, {count[STALE]} stale, {count[NOT_RUN]} not run."
    left = f"Of {len(every)} tests these are red in no line: {', '.join(others) or 'none'}."
    path.write_text("\n".join([HEAD, told, left, "", *table, ""]), "utf-8")


def _text(line: Line) -> str:
    name, test, outcome, said, *rest = (cell.replace("|", "\\|") for cell in line.cells)
    return f"| {' | '.join([name, f'`{test}`', outcome, f'`{said}`' if said else '', *rest])} |"
