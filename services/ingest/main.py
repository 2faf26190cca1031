"""Builds ingest: its HTTP face, and the loop that keeps what it refused."""

from datetime import timedelta

from services.ingest.api import TrackingApi
from services.ingest.consumer import on_rejected
from services.ingest.settings import IngestSettings
from services.ingest.website import website_routes
from shared.consumer import Consumer
from shared.housekeeping import Chore
from shared.http import service_app
from shared.letters_api import dead_letter_routes
from shared.service import Ports, Service
from shared.wire import DEAD_LETTERS
from shared.work import Outbox


def build(settings: IngestSettings, ports: Ports) -> Service:
    """Ingest, not yet started."""
    outbox = Outbox("ingest", ports.database, ports.log, ports.clock)
    pages = service_app("ingest", ports, [dead_letter_routes(ports, outbox), website_routes()])
    letters = Consumer(DEAD_LETTERS, ports, outbox, on_rejected)
    return Service(
        "ingest",
        TrackingApi(ports, pages, settings.ingest_memory),
        loops=[letters.run],
        chores=[Chore("ingest outbox", timedelta(seconds=5), outbox.sweep)],
    )
