"""The deliberate breaks of the crash tests keep up with the code, so that they can be made whenever somebody asks; and how it is judged
whether a test has noticed one.
"""

import ast
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests import breaks
from tests.break_table import NOT_RUN, STALE, Line, read, shown, state_of, write
from tests.broken import BREAKS
from tests.broken_promises import Break


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_each_edit_finds_its_text_once_and_leaves_a_program(one: Break, tmp_path: Path) -> None:
    changed = {name for name, _, _ in one.edits}
    for name in changed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(breaks.ROOT / name, tmp_path / name)
    breaks.broken(tmp_path, one)
    for name in changed:
        text = (tmp_path / name).read_text("utf-8")
        assert text != (breaks.ROOT / name).read_text("utf-8")
        ast.parse(text, name)


LOST = "3 events are lost"
RED = f"load.py:7: in check\n    assert not lost, words\n    ^^^^^^^^^^^^^^^\nE   AssertionError: {LOST}\nE   assert not [1, 2, 3]"
TOLD = (
    ("green", None, ""),
    ("red", "failure", RED),
    ("red and not put away", "failure", RED),
    ("red and not put away", "error", "disks.py:3: in free\nE   OSError: busy"),
    ("red of something else", "failure", f'test_disk.py:9: in test\n    check("{LOST}")\nload.py:7: in check\n    add(1)\nE   ValueError'),
    ("never begun", "error", f"test_disk.py:5: in collector\n    start()\nE   RuntimeError: {LOST}"),
    ("left out", "skipped", f"test_disk.py:5: {LOST}"),
)
"""What pytest wrote down of tests: name, kind, and the text of it."""


def report() -> str:
    """Return that in JUnit's XML."""
    suite = ET.Element("testsuite")
    for name, kind, text in TOLD:
        case = ET.SubElement(suite, "testcase", classname="tests.operation.test_disk", name=name)
        if kind is not None:
            ET.SubElement(case, kind, message=LOST).text = text
    return ET.tostring(suite, "unicode")


def test_only_a_test_that_failed_and_says_what_is_wanted_has_noticed_a_break() -> None:
    found = {name.partition("::")[2]: outcome for name, outcome in breaks.outcomes(report()).items()}
    wanted = {name: LOST for name, _, _ in TOLD} | {"missing": LOST}
    assert breaks.judged(wanted, found) == {
        "green": "green",
        "red of something else": f"failed, not failed of '{LOST}'",
        "never begun": f"error, not failed of '{LOST}'",
        "left out": f"skipped, not failed of '{LOST}'",
        "missing": f"absent, not failed of '{LOST}'",
    }
    assert found["red"].said == f"assert not lost, words\nAssertionError: {LOST}\nassert not [1, 2, 3]"


def test_each_crash_test_is_named_by_some_break() -> None:
    every = breaks.names(breaks.ROOT)
    assert {breaks.chosen(every, pattern) for one in BREAKS for pattern in one.tests} == set(every), "a test that no break turns red"


def test_a_table_keeps_what_did_not_run_and_says_what_it_is_no_longer_true_of(tmp_path: Path) -> None:
    file = tmp_path / "BREAKS.md"
    one = Line("none syncs", "tests/test_disk.py::test_full[a-b]", "red", "assert a | b", "passed", "12", "0a1b2c3d")
    write(file, [one, Line("none waits", one.test)], [one.test, "tests/test_disk.py::test_other"])
    assert read(file) == {(one.name, one.test): one, ("none waits", one.test): Line("none waits", one.test)}
    assert "2 breaks, 2 lines: 1 red, 0 stale, 1 not run." in file.read_text("utf-8")
    assert "red in no line: tests/test_disk.py::test_other." in file.read_text("utf-8")
    assert one.checked(one.state) == one
    assert one.checked("elsewhere").outcome == STALE
    assert Line("none waits", one.test).checked("elsewhere").outcome == NOT_RUN


def test_an_outcome_is_of_the_edits_the_wish_and_the_lines_of_the_test(tmp_path: Path) -> None:
    one, other = Break("none syncs", (("a.py", "b", "c"),), {}), Break("none syncs", (("a.py", "b", "d"),), {})
    file, test = tmp_path / "test_disk.py", "test_disk.py::test_full[sqlite]"
    file.write_text("def test_full(): pass\n", "utf-8")
    states = [state_of(tmp_path, broken, test, says) for broken, says in ((one, "x"), (one, "y"), (other, "x"))]
    file.write_text("def test_full(): pass\ndef test_other(): pass\n", "utf-8")
    assert state_of(tmp_path, one, test, "x") == states[0]
    file.write_text("def test_full(): assert False\n", "utf-8")
    assert len({*states, state_of(tmp_path, one, test, "x")}) == 4


def test_of_what_was_said_the_line_is_shown_that_was_to_be_said() -> None:
    said = "assert not lost, words\nAssertionError: 3 of `5` in /tmp/somewhere/leadlight.db are lost"
    assert shown(said, "are lost") == "AssertionError: 3 of '5' in … are lost"
    assert shown(said, "anything") == "assert not lost, words"
