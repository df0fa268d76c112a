"""How counting everybody and deciding for one grow with the number of people: one command, one file.

    make bench-audiences        or     python -m tests.benchmarks.growth [--scales 0.01 0.1 1]

Runs the benchmarks of audiences at each scale (parts of a million people), and those of decisions, of answers with many live messages and
of what is kept of decisions, each in a process of its own, and writes what they print to AUDIENCES.md beside this file; what stands there
from "Reading the figures" on stays.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import report

RESULTS = Path(__file__).with_name("AUDIENCES.md")
_HEAD = """# Audiences and decisions, measured

Repeat it with `make bench-audiences`: databases are made where there are none (about 25 GB for both engines at a million people), and it
needs DuckDB (`pip install duckdb`). Everything of one table ran side by side in one run."""


def printed(module: str, *arguments: str) -> str:
    """Run a benchmark and return what it prints."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scales", nargs="+", default=["0.01", "0.1", "1"])
    parser.add_argument("--rounds", default="20")
    given = parser.parse_args()
    parts = [_HEAD]
    for scale in given.scales:
        parts += [f"## {float(scale) * 1_000_000:,.0f} people", printed("audiences", "--scale", scale, "--rounds", given.rounds)]
    parts += ["## One person, every live message", printed("decisions")]
    parts += ["## What two hundred live messages cost an answer", printed("answers")]
    parts += ["## Keeping what was decided", printed("kept")]
    report.write(RESULTS, "\n\n".join(parts))


if __name__ == "__main__":
    main()
