"""Builds scoring: the loop that reads events, the sweep of what time does, the renewal after a change of rules, and its HTTP face."""

import os
from collections.abc import Mapping

from services.scoring.api import address_routes, audit_routes, lead_routes, leaving_routes
from services.scoring.consumer import Scoring
from services.scoring.exporting import export_routes
from services.scoring.kpi import count_leads
from services.scoring.renewal import Renewal
from services.scoring.rulebook import Rulebook
from services.scoring.scheduler import Sweep
from services.scoring.settings import ScoringSettings
from shared.backlogs import TELLS, Backlogs
from shared.consumer import Consumer
from shared.erasing import Marks, erasure_routes
from shared.housekeeping import MEASURED, Chore
from shared.http import service_app
from shared.kpi_api import kpi_routes
from shared.letters_api import dead_letter_routes
from shared.metronome import Metronome
from shared.service import Ports, Service
from shared.wire import EVENTS
from shared.work import SWEEPS, Outbox


def build(settings: ScoringSettings, ports: Ports, environ: Mapping[str, str] = os.environ) -> Service:
    """Scoring, not yet started. `environ` is what `${NAME}` means in the playbook."""
    outbox = Outbox("scoring", ports.database, ports.log, ports.clock)
    rulebook = Rulebook(ports.playbooks, environ)
    marks = Marks(ports.signer)
    events = Consumer(EVENTS, ports, outbox, Scoring(rulebook, marks).on_events)
    sweep = Metronome("readiness", ports.clock, Sweep(ports.database, outbox, rulebook).tick, ports.database.changes)
    renewal = Metronome("renewal", ports.clock, Renewal(ports.database, outbox, rulebook).step, ports.database.changes)
    routers = [
        lead_routes(ports, outbox, rulebook),
        leaving_routes(outbox, rulebook, marks),
        address_routes(ports, outbox, marks),
        audit_routes(ports, rulebook),
        dead_letter_routes(ports, outbox),
        erasure_routes(ports, outbox.service),
        export_routes(ports, rulebook),
        kpi_routes(ports, {"leads": count_leads}),
    ]
    return Service(
        "scoring",
        service_app("scoring", ports, routers),
        loops=[events.run, sweep.run, renewal.run],
        chores=[
            Chore("scoring outbox", SWEEPS, outbox.sweep),
            Chore("scoring lag", MEASURED, events.measure),
            Chore("scoring backlog", TELLS, Backlogs(ports, reads=(outbox.service, EVENTS)).share),
        ],
    )
