"""The architecture that CONTRIBUTING.md draws, held: imports point one way, files stay small, no package registry is named."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up. A module may import what stands on its own line or on one below it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"values"}),
    frozenset({"settings", "scripts", "processes"}),
    frozenset({"storage"}),
    frozenset({"domain"}),
    frozenset({"services", "simulations", "writer_process"}),  # what one process works with, put together
    frozenset({"ingest"}),
    frozenset({"web"}),
    frozenset({"setup", "upkeep", "backfill", "goal_keeper", "decision_keeper", "simulating", "writing", "operating", "app", "serving"}),
    frozenset({"demo", "cli", "__main__"}),
)
LONGEST_FILE = 500
SOURCES = (".py", ".js", ".mjs", ".ts", ".css", ".html", ".sql", ".sh")
BUILT = {"static/tracker.js", "static/messenger.js", "static/handover.js", "static/rules.js", "static/intercom.js"}


def files() -> list[str]:
    """What belongs to the repository: all but what .gitignore names, whether committed yet or not."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return sorted(name for name in set(done.stdout.split("\0")) if name and (ROOT / name).is_file())


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a module, wherever it stands, as line and dotted name (with `from` the name taken is part of it)."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]) if base else ".".join(above)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def layer(name: str) -> int | None:
    """The height of a module of `collector`; None for the package itself."""
    parts = name.split(".")
    if len(parts) == 1:
        return None
    return next((height for height, names in enumerate(LAYERS) if parts[1] in names), -1)


def test_every_module_has_a_layer() -> None:
    assert modules("collector"), "no modules found"
    homeless = [name for name in modules("collector") if layer(name) == -1]
    assert homeless == [], "say in CONTRIBUTING.md and in LAYERS where these belong"


def test_imports_point_downwards() -> None:
    wrong = []
    for name, path in modules("collector").items():
        own = layer(name)
        for line, target in imports(name, path):
            if not target.startswith("collector."):
                continue
            other = layer(target)
            if other == -1:  # a name of the package itself, such as collector.__version__
                continue
            if own is None or (other is not None and other > own):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert wrong == []


def test_no_imports_in_circles() -> None:
    known = modules("collector")
    edges: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = (target if target in known else target.rpartition(".")[0] for _, target in imports(name, path))
        # A package's own __init__ is loaded with each of its modules and is no dependency of them.
        edges[name] = {target for target in targets if target in known and target != name and not name.startswith(f"{target}.")}
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            circle = " > ".join([*trail[trail.index(name) :], name])
            pytest.fail(f"imports run in a circle: {circle}")
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, [*trail, name])
            done.add(name)

    for name in edges:
        visit(name, [])


def test_a_released_step_of_the_schema_stands_by_itself() -> None:
    """What it does must not change with later edits elsewhere: of the product it takes the connection and the engines' words."""
    taken = {f"collector.storage.{name}" for name in ("database.Connection", "database.Engine", "migrations.translated")}
    found = {
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in modules("collector").items()
        if name.startswith("collector.storage.migrations.m")
        for line, target in imports(name, path)
        if target.startswith("collector.") and target not in taken
    }
    assert found == set()


def test_the_demo_shop_is_a_customer() -> None:
    """It uses what every customer has, and the product does not know it, but for the command that starts both."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for package, barred in (("demo_site", "collector"), ("collector", "demo_site"))
        for name, path in modules(package).items()
        if name != "collector.demo"
        for line, target in imports(name, path)
        if target.split(".")[0] == barred
    ]
    assert wrong == []


@pytest.mark.parametrize("layer_name", ["values", "domain"])
def test_rules_know_no_web_and_no_database_library(layer_name: str) -> None:
    barred = {"flask", "werkzeug", "granian", "psycopg", "sqlite3", "peewee", "playhouse", "http", "urllib3", "socket"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for name, path in modules("collector").items()
        if name.startswith(f"collector.{layer_name}.")
        for line, target in imports(name, path)
        if target.split(".")[0] in barred
    ]
    assert wrong == []


def test_no_source_file_is_long() -> None:
    lengths = {name: len((ROOT / name).read_text("utf-8").splitlines()) for name in files() if name.endswith(SOURCES) and name not in BUILT}
    assert len(lengths) > 10, "too few sources found"
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_package_registry_is_named() -> None:
    """Where packages come from is the business of whoever installs: pip and npm know, mirrors and proxies differ."""
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"))
    ]
    wrong = []
    for name in files():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            wrong += [f"{name} names {host}" for host in hosts if host.encode() in data]
    assert wrong == []
