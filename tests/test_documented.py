"""What users can rely on is written down: reasons, settings, commands and addresses, read from the code itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from collector.cli import main
from collector.services import build
from collector.settings import CONFIG_FILE, Settings, environment_name
from collector.values.errors import Reason

ROOT = Path(__file__).resolve().parents[1]
NOT_SETTINGS = {"LEADLIGHT_CONFIG"}
"""Names that the readme may use though they are no field: where the file of settings is."""


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def everywhere(readme: str) -> str:
    return "\n".join([readme, *((ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "static/WIRE.md", "docs/intercom.md"))])


OPTIONS = (ROOT / "docs" / "options.md").read_text("utf-8")
TYPES = (ROOT / "static" / "types.d.ts").read_text("utf-8")


def declared(name: str) -> list[str]:
    """The members of an interface in static/types.d.ts."""
    body = re.search(rf"  interface {name} {{\n(.*?)\n  }}", TYPES, re.DOTALL)
    assert body, f"no interface {name}"
    return re.findall(r"^    (\w+)[?]?[(:]", body[1], re.MULTILINE)


def commands(group: click.Group, above: str = "leadlight") -> Iterator[tuple[str, click.Command]]:
    """Every command with its words, groups gone through."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{above} {name}")
        else:
            yield f"{above} {name}", command


def plain(path: str) -> str:
    """Return a path with `{}` where it varies, however the text writes that: `<int:number>` or `{number}`."""
    return re.sub(r"<[^>/]+>|\{[^}/]*\}", "{}", path)


def documented_paths(text: str) -> tuple[set[str], set[str]]:
    """Return the paths named in a text, and the beginnings below which `/…` or `/...` stands for all."""
    found = {plain(match) for match in re.findall(r"(?<![\w.}>/])/[\w{}<>:./…*-]*", text)}
    below = {path.rstrip(".…") for path in found if path.endswith(("/...", "/…"))} - {"/"}
    return {path.rstrip(".") for path in found}, below


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: str(reason.value))
def test_reason_is_documented(reason: Reason, everywhere: str) -> None:
    assert f"`{reason.value}`" in everywhere


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_setting_is_documented(field: str, readme: str) -> None:
    assert re.search(rf"\b{environment_name(field)}\b", readme)


def test_no_setting_is_documented_that_does_not_exist(readme: str) -> None:
    known = {environment_name(field) for field in Settings.__struct_fields__} | NOT_SETTINGS
    assert set(re.findall(r"\bLEADLIGHT_[A-Z_]+\b", readme)) - known == set()
    assert CONFIG_FILE in readme


@pytest.mark.parametrize(("words", "command"), [pytest.param(*found, id=found[0]) for found in commands(main)])
def test_command_is_documented(words: str, command: click.Command, readme: str) -> None:
    assert re.search(rf"\b{words}\b", readme), f"`{words}` is not in the readme"
    assert command.help, f"`{words} --help` says nothing"


def test_every_address_is_documented(tmp_path: Path, readme: str) -> None:
    from collector.app import create_app

    services = build(Settings(database_url=f"sqlite:///{tmp_path / 'leadlight.db'}", secret_key=("x" * 32,)))
    try:
        served = {plain(rule.rule) for rule in create_app(services).url_map.iter_rules()}
    finally:
        services.close()
    named, below = documented_paths(readme)
    missing = {path for path in served if path not in named and not any(path.startswith(beginning) for beginning in below)}
    assert len(served) > 10
    assert sorted(missing) == []


@pytest.mark.parametrize("option", declared("Settings"))
def test_option_is_documented(option: str) -> None:
    assert f"\n| `{option.replace('_', '-')}` |" in OPTIONS


@pytest.mark.parametrize("call", declared("Calls"))
def test_call_is_documented(call: str) -> None:
    assert re.search(rf"\n\| `{call}\(", OPTIONS)


@pytest.mark.parametrize("field", declared("Status"))
def test_field_of_the_status_is_documented(field: str) -> None:
    assert f"\n| `{field}` |" in OPTIONS


def test_nothing_is_documented_of_the_tracker_that_does_not_exist() -> None:
    options, calls, status = OPTIONS.partition("\n## Calls")[0], *OPTIONS.partition("\n## Calls")[2].split("\n## ")[:2]
    first = r"^\| `([\w-]+)"
    assert {name.replace("-", "_") for name in re.findall(first, options, re.MULTILINE)} == set(declared("Settings"))
    assert set(re.findall(first, calls, re.MULTILINE)) == set(declared("Calls"))
    held = re.findall(r"`(\w+)`", re.search(r"Why nothing is sent.*?\*/", TYPES, re.DOTALL)[0])  # type: ignore[index]
    assert set(re.findall(first, status, re.MULTILINE)) == {*declared("Status"), *held}


def anchor(heading: str) -> str:
    """The anchor that a heading gets: lower case, hyphens for blanks, no other signs."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


@pytest.mark.parametrize("document", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, wanted = target.partition("#")
        other = (document.parent / path).resolve() if path else document
        assert other.exists(), target
        if wanted:
            assert wanted in {anchor(heading) for heading in re.findall(r"^#+ (.+)$", other.read_text("utf-8"), re.MULTILINE)}, target
