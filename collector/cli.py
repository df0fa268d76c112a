"""The command `leadlight`."""

import json
import sys
import time
from pathlib import Path

import click
import msgspec

from collector import __version__
from collector.settings import SettingsError, load_settings, require_secret_key


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leadlight")
def main() -> None:
    """Leadlight: a self-hosted web tracker and in-page messenger."""


class _Unable(click.ClickException):
    """What was asked could not be found out: neither yes nor no, which are 0 and 1. Wrong usage has the same code."""

    exit_code = 2


@main.command()
@click.option("--site", "name", required=True, help="What the site is called in the console.")
@click.option(
    "--origin", "origins", required=True, multiple=True, help="An origin its pages are served from, such as https://www.example.com."
)
@click.option("--time-zone", default="UTC", show_default=True, help="The site's time zone, such as Europe/Berlin.")
@click.option("--email", default=None, help="The console account to make, or to open the site to.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON alone on standard output.")
def init(name: str, origins: tuple[str, ...], time_zone: str, email: str | None, as_json: bool) -> None:
    """Make a site, its keys and a console account; the first time also the secret key and the database."""
    from collector.setup import init_site

    try:
        made = init_site(
            load_settings(),
            name=name,
            origins=list(origins),
            time_zone=time_zone,
            email=email,
            echo=lambda line: click.echo(line, err=True),
        )
    except (SettingsError, ValueError, LookupError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(made))
        return
    for key, value in made.items():
        click.echo(f"{key:17} {value if value is not None else '(unchanged)'}")
    click.echo(f'\n<script async src="{load_settings().base_url()}/tracker.js" data-site="{made["site_key"]}"></script>')


@main.command()
@click.option("--host", default=None, help="The address to bind (default: LEADLIGHT_HOST, else 127.0.0.1).")
@click.option("--port", default=None, type=click.IntRange(0, 65_535), help="The port to bind (default: LEADLIGHT_PORT, else 8000).")
def serve(host: str | None, port: int | None) -> None:
    """Serve the collector, the scripts, the API and the console."""
    from collector import serving
    from collector.setup import check_installed, open_services

    try:
        settings = require_secret_key(load_settings())
        given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        settings = msgspec.structs.replace(settings, **given)
        for line in check_installed(settings, with_site=True):
            click.echo(f"the database is being changed: {line}", err=True)
        open_services(settings).close()  # what is wrong is said here, in one line, before anything listens
        settings = msgspec.structs.replace(settings, host=serving.free_address(settings))
    except (SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"serving on {settings.bound_url()}", err=True)
    serving.serve(settings)


@main.command()
@click.option("--force", is_flag=True, help="Believe this machine's clock, whatever the database says against it.")
@click.option("--shorten", is_flag=True, help="Go by the retentions set here, though collectors on this database told longer ones.")
def prune(force: bool, shorten: bool) -> None:
    """Prune the timeline and delete silent leads now; `serve` does it each night. Safe while serving.

    Where retentions are shorter here than for the collectors, nothing is done without --shorten: what is pruned is gone for good.

    Exits with 1 where a part could not be done; `leadlight doctor` says which and why, and so does the log on standard error. So it does
    where a part was `left` to another process that is at it.
    """
    from collector import upkeep
    from collector.setup import check_installed, open_services, unusable
    from collector.storage.faults import is_unavailable

    try:
        settings = require_secret_key(load_settings())
        for line in check_installed(settings):
            click.echo(f"the database is being changed: {line}", err=True)
        services = open_services(settings)
    except (SettingsError, OSError) as error:
        raise click.ClickException(str(error)) from None
    report = upkeep.Report()
    try:
        if not shorten:
            upkeep.check_shorter(services)
        for _ in upkeep.round_of(services, services.written.transact, report, trusted=force, alone=shorten):
            time.sleep(upkeep.PAUSE_SECONDS)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    except Exception as error:
        if is_unavailable(error):
            raise click.ClickException(str(unusable(services.settings, error))) from None
        raise
    finally:
        services.close()
        click.echo(json.dumps(msgspec.structs.asdict(report)))
    sys.exit(1 if report.failed or report.left else 0)


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 where steps are pending, with 2 where that cannot be found out.")
def upgrade(check: bool) -> None:
    """Print the steps that are pending and bring the database's schema up to date; `serve` does it when it starts. Safe while serving.

    Interrupted, it may be run again: what was begun is finished.
    """
    from collector import setup

    try:
        steps = setup.upgrade(load_settings(), check=check, tell=click.echo)
    except SettingsError as error:
        raise (_Unable if check else click.ClickException)(str(error)) from None
    if not steps:
        click.echo("the schema is up to date")
    sys.exit(1 if check and steps else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line: each finding, then what was counted.")
def doctor(as_json: bool) -> None:
    """Recount everything that is stored and say what does not add up. Safe while serving.

    Exits with 1 where something does not, and with 2 where the database could not be examined.
    """
    from collector import operating
    from collector.domain.doctor import Counts

    counts, findings = Counts(), 0
    try:
        for finding in operating.doctor(load_settings(), counts):
            findings += 1
            click.echo(msgspec.json.encode(finding).decode() if as_json else str(finding))
    except SettingsError as error:
        raise _Unable(str(error)) from None
    counted = msgspec.structs.asdict(counts)
    if as_json:
        click.echo(json.dumps({"findings": findings, "counted": counted}))
    else:
        told = ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in counted.items())
        click.echo(f"counted {told}: {f'{findings:,} findings' if findings else 'all of it adds up'}")
    sys.exit(1 if findings else 0)


@main.command()
def rekey() -> None:
    """Store the sites' secrets with the last key of SECRET_KEY, before an old one is taken out of it. Safe while serving."""
    from collector import operating

    try:
        sites = operating.rekey(load_settings())
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"the secrets of {sites:,} sites are stored with the newest key")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--deletions", is_flag=True, help="Write only who was deleted when (keyed digests), beside those in FILE: small, to be kept more often."
)
@click.option("--force", is_flag=True, help="Overwrite FILE; deletions that it holds stay all the same.")
def backup(file: Path, deletions: bool, force: bool) -> None:
    """Write the whole installation, as it stands now, into FILE: a database of SQLite, from either engine. Safe while serving."""
    from collector import operating

    try:
        if deletions:
            click.echo(f"{file}: {operating.backup_deletions(load_settings(), file):,} tombstones")
            return
        made = operating.backup(load_settings(), file, overwrite=force)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{file}: {made.size:,} bytes, {made.people:,} people, {made.events:,} events")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace a database that holds data.")
@click.option(
    "--deletions",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Delete again whoever is in this file of `backup --deletions`, beside those deleted in the database that is replaced.",
)
def restore(file: Path, replace: bool, deletions: tuple[Path, ...]) -> None:
    """Put the backup FILE in the place of the database, whole or not at all. Stop the collectors first."""
    from collector import operating

    try:
        made = operating.restore(load_settings(), file, replace=replace, deletions=deletions)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"restored {made.people:,} people, {made.events:,} events; {made.deleted:,} people were deleted since, and are again")
    if made.unread:
        click.echo("the old database could not be read: who was deleted in it since the backup is not known without --deletions", err=True)


@main.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("demo-data"), show_default=True, help="Where the demo keeps its data."
)
@click.option("--collector-port", type=int, default=8000, show_default=True)
@click.option("--site-port", type=int, default=8080, show_default=True)
def demo(folder: Path, collector_port: int, site_port: int) -> None:
    """Run the collector and a demo site that uses it, ready to look at."""
    from collector.demo import run

    try:
        run(folder, collector_port, site_port, click.echo)
    except KeyboardInterrupt:
        sys.exit(0)
