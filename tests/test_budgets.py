"""What a page of a customer has to load stays small. The goal for the whole tracker is 4,096 bytes; it is not there yet."""

import gzip
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[1] / "static"


@pytest.mark.parametrize(
    ("name", "most"),
    [("tracker.js", 5_747), ("messenger.js", 9_216), ("handover.js", 1_536), ("rules.js", 2_048), ("intercom.js", 2_048)],
)
def test_script_fits_its_budget(name: str, most: int) -> None:
    size = len(gzip.compress((STATIC / name).read_bytes(), compresslevel=9, mtime=0))
    assert 0 < size <= most, f"{name} is {size} bytes compressed; the budget is {most}"
