"""`dripline`: every command and where it is written."""

from typing import Annotated

import typer

from dripline.cli.audit import audit
from dripline.cli.dead_letters import dead_letters
from dripline.cli.deliveries import deliveries
from dripline.cli.erase import erase
from dripline.cli.export import export
from dripline.cli.importing import import_leads
from dripline.cli.keys import keys
from dripline.cli.lead import lead
from dripline.cli.local import check, migrate, run, serve
from dripline.cli.positions import positions
from dripline.cli.publish import publish
from dripline.cli.shell import Commands, say_version
from dripline.cli.spool import spool

app = typer.Typer(
    name="dripline",
    cls=Commands,
    help="Warms leads: events in, readiness from 1 to 10, journeys in YAML, mails and hot-lead webhooks out.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


VersionOption = Annotated[bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=say_version)]


@app.callback()
def dripline(version: VersionOption = False) -> None:
    """Options before any command; `say_version` has done its work by now."""


for command in (run, serve, check, publish, lead, export, erase, migrate, audit):
    app.command()(command)
app.command("import")(import_leads)
for group in (deliveries, dead_letters, keys, positions, spool):
    app.add_typer(group)
