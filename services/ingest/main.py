"""Builds ingest: its HTTP face, and the loop that keeps what it refused."""

from collections.abc import Sequence

from services.ingest.api import TrackingApi
from services.ingest.audit import spool_check
from services.ingest.consumer import Letters
from services.ingest.limits import Limits, Rate
from services.ingest.settings import IngestSettings
from services.ingest.spooled_log import SpooledLog
from services.ingest.website import website_routes
from shared.auditing import house_audit_routes
from shared.consumer import Consumer
from shared.erasing import Marks, erasure_routes
from shared.housekeeping import MEASURED, Chore
from shared.http import Check, service_app
from shared.letters_api import dead_letter_routes
from shared.service import Ports, Service
from shared.wire import DEAD_LETTERS
from shared.work import SWEEPS, Outbox


def build(settings: IngestSettings, ports: Ports, checks: Sequence[Check] = (), spooled: SpooledLog | None = None) -> Service:
    """Ingest, not yet started. `checks` say whether the log takes anything.

    `spooled` takes what comes in instead of the log. Then ingest is ready without its database, too: keys are known, events need no more.
    """
    outbox = Outbox("ingest", ports.database, ports.log, ports.clock)
    website = website_routes(ports.keys, settings.public_url)
    audit = house_audit_routes(ports, outbox.service, lambda: [spool_check(spooled)] if spooled else [])
    ours = [dead_letter_routes(ports, outbox), erasure_routes(ports, outbox.service), audit]
    every = [*checks, spooled.check] if spooled else checks
    pages = service_app("ingest", ports, [*ours, website], every, needs_database=spooled is None)
    letters = Consumer(DEAD_LETTERS, ports, outbox, Letters(Marks(ports.signer)).on_records)
    return Service(
        "ingest",
        TrackingApi(ports, spooled or ports.log, pages, settings.ingest_memory, _limits(settings), settings.trusted_proxies),
        loops=[letters.run, spooled.run] if spooled else [letters.run],
        chores=[Chore("ingest outbox", SWEEPS, outbox.sweep), Chore("ingest lag", MEASURED, letters.measure)],
    )


def _limits(settings: IngestSettings) -> Limits:
    return Limits(
        per_key=Rate(settings.browser_events_per_key, 60),
        per_ip=Rate(settings.browser_events_per_ip, 60),
        per_address=Rate(settings.browser_events_per_address, 3600),
    )
