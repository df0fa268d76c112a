"""`leadlight init` and what it leaves behind, as an operator meets it."""

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.processes import Program, children, free_port, members, run_command
from tests.support.servers import ORIGIN, Collector


def init(folder: Path, *more: str):
    arguments = ["collector", "init", "--site", "Shop", "--origin", "https://shop.example", "--json", *more]
    return run_command(arguments, folder, {"DATABASE_URL": "sqlite:///leadlight.db"})


def test_standard_output_is_the_promised_json_alone(tmp_path: Path) -> None:
    made = json.loads(init(tmp_path).stdout)
    assert set(made) == {"site_key", "access_token", "identity_secret", "console_url", "console_email", "console_password"}
    assert all(isinstance(value, str) and value for value in made.values())


def test_the_secret_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    init(tmp_path)
    assert stat.S_IMODE((tmp_path / "leadlight.toml").stat().st_mode) == 0o600


def test_where_the_secret_key_of_an_installation_is_not_found_none_is_made(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "leadlight.toml").rename(tmp_path / "lost")
    done = init(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "secret key is not here" in done.stderr
    assert not (tmp_path / "leadlight.toml").exists()


def test_again_it_adds_a_site_and_overwrites_nothing(tmp_path: Path) -> None:
    first = json.loads(init(tmp_path).stdout)
    key = (tmp_path / "leadlight.toml").read_text()
    second = json.loads(init(tmp_path).stdout)
    assert (tmp_path / "leadlight.toml").read_text() == key
    assert second["site_key"] != first["site_key"]
    assert second["console_email"] != first["console_email"]


def test_an_account_that_exists_is_opened_to_the_new_site_with_its_password_unchanged(tmp_path: Path) -> None:
    first = json.loads(init(tmp_path, "--email", "owner@example.com").stdout)
    second = json.loads(init(tmp_path, "--email", "owner@example.com").stdout)
    assert first["console_password"]
    assert second["console_password"] is None


def test_a_wrong_origin_is_said_in_words_and_makes_nothing(tmp_path: Path) -> None:
    arguments = ["collector", "init", "--site", "Shop", "--origin", "shop.example/path", "--json"]
    done = run_command(arguments, tmp_path, {"DATABASE_URL": "sqlite:///leadlight.db"})
    assert done.returncode != 0
    assert done.stdout == ""
    assert "https://www.example.com" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_refuses_to_start_without_a_secret_key(tmp_path: Path) -> None:
    done = run_command(["collector", "serve", "--port", "0"], tmp_path, {"DATABASE_URL": "sqlite:///leadlight.db"})
    assert done.returncode != 0
    assert "leadlight init" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_finds_the_key_that_init_made(collector: Collector) -> None:
    assert collector.client.get("/readyz").status == 200
    assert collector.client.api("GET", "/me").status == 200


def test_a_token_of_one_site_does_not_open_another(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    other = collector.init("Other", ["https://other.example"])
    collector.client.api("POST", "/contacts", {"external_id": "u-1"})
    stranger = type(collector.client)(collector.url, other["access_token"])
    assert stranger.api("GET", "/contacts/find_by_external_id/u-1").status == 404


def test_the_database_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    init(tmp_path)
    assert stat.S_IMODE((tmp_path / "leadlight.db").stat().st_mode) == 0o600


def serve(folder: Path, port: int, **environ: str):
    return run_command(["collector", "serve", "--port", str(port)], folder, {"DATABASE_URL": "sqlite:///leadlight.db", **environ})


def test_an_address_in_use_is_said_and_nothing_is_shared(collector: Collector) -> None:
    done = run_command(["collector", "serve", "--port", str(collector.port)], collector.folder, collector.environ)
    assert done.returncode != 0
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_key_that_does_not_fit_the_database_is_said_at_the_start(tmp_path: Path) -> None:
    init(tmp_path)
    done = serve(tmp_path, free_port(), SECRET_KEY="another key that is long enough")
    assert done.returncode != 0
    assert "does not fit" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["garbage", "mysql://x/y", "postgresql://nobody@127.0.0.1:1/x", "sqlite:////nonexistent/x.db"])
def test_a_database_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, url: str) -> None:
    init(tmp_path)
    done = serve(tmp_path, free_port(), DATABASE_URL=url)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:pa%zz-secret@127.0.0.1:1/x",
        "postgresql://shop:pa/secret@127.0.0.1:1/x",
        "postgresql://shop:7/secret@127.0.0.1:1/x",
        "postgresql:///x?host=127.0.0.1&port=1&user=shop&password=secret",
        "postgresql://shop:se@cret-secret@127.0.0.1:1/x",
        "postgresql:///x?host=127.0.0.1&port=1&user=shop&password=7@secret",
        "postgresql://shop:pa%?secret@127.0.0.1:1/x",
    ],
)
def test_a_password_of_the_database_is_not_shown(tmp_path: Path, url: str) -> None:
    init(tmp_path)
    done = serve(tmp_path, free_port(), DATABASE_URL=url)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any(part in done.stderr for part in ("secret", "pa%", '"pa"', "7/"))


def test_a_host_may_be_named(tmp_path: Path) -> None:
    init(tmp_path)
    port = free_port()
    arguments = ["collector", "serve", "--host", "localhost", "--port", str(port)]
    program = Program("named", arguments, tmp_path, {"DATABASE_URL": "sqlite:///leadlight.db"})
    try:
        program.wait_for(f"http://localhost:{port}", "/healthz")
    finally:
        assert program.stop() == 0


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize("words", [("prune",), ("init", "--site", "Other", "--origin", ORIGIN)], ids=lambda words: words[0])
def test_a_command_says_in_one_line_that_the_disk_is_full(start_collector: Callable[..., Collector], words: tuple[str, ...]) -> None:
    with small_disk(32) as disk:
        collector = start_collector(database_url=f"sqlite:///{disk.folder / 'leadlight.db'}")
        disk.fill()
        done = run_command(["collector", *words], collector.folder, collector.environ)
        assert done.returncode == 1
        assert "database or disk is full" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        disk.free()
        assert run_command(["collector", *words], collector.folder, collector.environ).returncode == 0
        collector.kill()


def test_a_setting_that_does_not_exist_or_is_out_of_bounds_is_said(tmp_path: Path) -> None:
    init(tmp_path)
    done = serve(tmp_path, free_port(), LEADLIGHT_TYPO="1", LEADLIGHT_RETENTION_DAYS="0")
    assert done.returncode != 0
    assert "LEADLIGHT_TYPO" in done.stderr
    assert "retention_days" in done.stderr


def test_a_killed_server_leaves_no_worker_behind(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    os.kill(collector.program.process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            collector.client.get("/healthz")
        except OSError:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the worker still serves")


def test_a_server_killed_while_its_worker_starts_leaves_none_behind(tmp_path: Path) -> None:
    init(tmp_path)
    arguments = ["collector", "serve", "--port", str(free_port())]
    program = Program("collector", arguments, tmp_path, {"DATABASE_URL": "sqlite:///leadlight.db"})
    try:
        while not children(program.process.pid):
            assert program.process.poll() is None, program.errors
            threading.Event().wait(0.001)
        program.process.kill()
        program.process.wait()
        deadline = time.monotonic() + 30
        while members(program.process.pid) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert members(program.process.pid) == []
    finally:
        program.kill()
