"""`dripline`: every command and where it is written."""

import typer

from dripline.cli.audit import audit
from dripline.cli.dead_letters import dead_letters
from dripline.cli.deliveries import deliveries
from dripline.cli.erase import erase
from dripline.cli.export import export
from dripline.cli.importing import import_leads
from dripline.cli.keys import keys
from dripline.cli.lead import lead
from dripline.cli.local import check, migrate, run
from dripline.cli.publish import publish
from dripline.cli.shell import Commands

app = typer.Typer(
    name="dripline",
    cls=Commands,
    help="Warms leads: events in, readiness from 1 to 10, journeys in YAML, mails and hot-lead webhooks out.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (run, check, publish, lead, export, erase, migrate, audit):
    app.command()(command)
app.command("import")(import_leads)
for group in (deliveries, dead_letters, keys):
    app.add_typer(group)
