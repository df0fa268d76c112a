"""The deliberate breaks of the crash tests keep up with the code, so that they can be made whenever somebody asks."""

import ast
import shutil
from pathlib import Path

import pytest

from tests import breaks
from tests.broken import BREAKS, Break


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


def test_each_crash_test_is_named_by_some_break() -> None:
    every = breaks.names(breaks.ROOT)
    assert {breaks.chosen(every, pattern) for one in BREAKS for pattern in one.tests} == set(every), "a test that no break turns red"
