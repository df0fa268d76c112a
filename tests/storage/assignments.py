"""Which columns the program gives other values in rows that are there: read from its source, so that no statement is missed."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[2] / "collector"
_UPDATE = re.compile(r"\bUPDATE (\{\w+\}|\w+)(?: (?!SET\b)\w+)? SET\s(.*)", re.DOTALL)
_CONFLICT = re.compile(r"\bON CONFLICT \(([\w, ]+)\) DO UPDATE SET\s(.*)", re.DOTALL)
_TOKENS = re.compile(r"[(),]|\w+|\s+|[^\w\s(),]")
_END = frozenset({"WHERE", "FROM", "RETURNING"})


class Assignment(NamedTuple):
    """A column, or `{variable}`, that is set in rows of a table: the table's name or `{variable}`, or the key that an INSERT meets."""

    table: str | tuple[str, ...]
    column: str


class _Reader(ast.NodeVisitor):
    """Collects the texts of a module, with `{variable}` where something is put in, and what `Connection.update` is called with."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.updates: set[Assignment] = set()

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.texts.append(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.texts.append("".join(str(one.value) if isinstance(one, ast.Constant) else _variable(one) for one in node.values))
        for one in node.values:
            if isinstance(one, ast.FormattedValue):
                self.visit(one.value)

    def visit_Call(self, node: ast.Call) -> None:
        if getattr(node.func, "attr", "") == "update" and len(node.args) >= 5 and isinstance(node.args[0], ast.Constant):
            self.updates |= {Assignment(ast.literal_eval(node.args[0]), column) for column in ast.literal_eval(node.args[3])}
        self.generic_visit(node)


@functools.cache
def assignments() -> frozenset[Assignment]:
    """Every assignment to a column outside of migrations, which run before anybody is served."""
    found: set[Assignment] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        source = path.read_text("utf-8")
        if "migrations" not in path.parts and ("UPDATE" in source or ".update(" in source):
            reader = _Reader()
            reader.visit(ast.parse(source))
            found |= reader.updates
            found |= {one for text in reader.texts for one in _of_text(text)}
    return frozenset(found)


def _of_text(text: str) -> Iterator[Assignment]:
    for match in _UPDATE.finditer(text):
        yield from (Assignment(match[1], column) for column in _columns(match[2]))
    for match in _CONFLICT.finditer(text):
        yield from (Assignment(tuple(match[1].replace(",", " ").split()), column) for column in _columns(match[2]))


def _columns(text: str) -> Iterator[str]:
    """Yield what stands on the left of each assignment, up to the end of them."""
    depth, parts = 0, [""]
    for token in _TOKENS.findall(text):
        depth += (token == "(") - (token == ")")
        if depth < 0 or (depth == 0 and token in _END):
            break
        if depth == 0 and token == ",":
            parts.append("")
        else:
            parts[-1] += token
    for part in parts:
        match = re.match(r"\s*(\{\w+\}|\w+)\s*(?:=|$)", part)
        assert match, f"no assignment: {part!r}"
        yield match[1]


def _variable(value: ast.expr) -> str:
    return f"{{{ast.unparse(value.value)}}}" if isinstance(value, ast.FormattedValue) else "{}"
