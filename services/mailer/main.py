"""Builds the mailer: its HTTP face, the consumers that fill the ledger, the scheduler that empties it."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from services.mailer import store
from services.mailer.api import action_routes, handoff_routes, ledger_routes, suppression_routes
from services.mailer.attempt import Attempts
from services.mailer.audit import audit_routes
from services.mailer.confirmations import Confirmations
from services.mailer.confirming import LedgerConfirmations
from services.mailer.consumer import Arrivals, on_activities
from services.mailer.editions import Editions
from services.mailer.endpoints import Closed
from services.mailer.endpoints_api import endpoint_routes
from services.mailer.erasing import finish
from services.mailer.exporting import address_routes, export_routes
from services.mailer.group_commit import GroupCommit
from services.mailer.handoff_desk import HandoffDesk
from services.mailer.handoff_pages import create_handoff_pages
from services.mailer.kpi import count_handoffs, count_mail
from services.mailer.ledger import Ledger
from services.mailer.links import Links
from services.mailer.measuring import measure_open
from services.mailer.messages_api import message_routes
from services.mailer.pages import create_pages
from services.mailer.policy import WAITING, Delivery
from services.mailer.preference_pages import create_preference_pages
from services.mailer.readers import LedgerReaders
from services.mailer.relay import parse_smtp_url
from services.mailer.relay_check import RelayCheck
from services.mailer.scheduler import Scheduler
from services.mailer.settings import MailerSettings
from services.mailer.smtp import SmtpTransport
from services.mailer.transport import MailTransport, WebhookSender
from services.mailer.webhook import WebhookTransport
from services.mailer.wishes import LedgerWishes
from shared.consumer import Consumer
from shared.erasing import Marks, erasure_routes
from shared.housekeeping import MEASURED, Chore
from shared.http import Check, service_app
from shared.kpi_api import kpi_routes
from shared.letters_api import dead_letter_routes
from shared.metronome import Metronome
from shared.service import Ports, Service
from shared.wire import ACTIVITIES, MESSAGES
from shared.work import SWEEPS, Outbox

NAME = "mailer"


def build(
    settings: MailerSettings,
    ports: Ports,
    *,
    environ: Mapping[str, str] = os.environ,
    mail: MailTransport | None = None,
    webhooks: WebhookSender | None = None,
) -> Service:
    """The mailer, not yet started. `environ` fills playbook.yaml's `${NAME}`s; `mail` and `webhooks` stand in for the real ways out."""
    outbox = Outbox(NAME, ports.database, ports.log, ports.clock)
    editions = Editions(ports.playbooks, environ)
    links = Links(ports.signer, settings.public_url)
    relay = parse_smtp_url(settings.smtp_url.get_secret_value())
    checks = [RelayCheck(relay)] if mail is None else []
    mail = mail or SmtpTransport(relay)
    webhooks = webhooks or WebhookTransport(settings.allow_private_webhooks)
    scheduler = build_scheduler(ports, outbox, editions, links, mail, webhooks, alone=settings.sole_owner)
    metronome = Metronome(NAME, ports.clock, scheduler.tick, ports.database.changes)
    scheduler.on_free = metronome.wake

    async def deliver() -> None:
        try:
            await metronome.run()
        finally:
            await scheduler.stop()
            await mail.close()
            await webhooks.close()

    desk = HandoffDesk(outbox, ports.database, editions, links.respond_url)
    messages = Consumer(MESSAGES, ports, outbox, Arrivals(desk).on_messages, metronome.wake)
    obeying = partial(on_activities, marks=Marks(ports.signer), confirmations=Confirmations(editions))
    activities = Consumer(ACTIVITIES, ports, outbox, obeying)
    return Service(
        NAME,
        create_app(ports, outbox, editions, links, metronome.wake, checks),
        loops=[messages.run, activities.run, deliver, Metronome("hand-offs", ports.clock, desk.tick).run],
        chores=[
            Chore("mailer outbox", SWEEPS, outbox.sweep),
            Chore("mailer messages' lag", MEASURED, messages.measure),
            Chore("mailer activities' lag", MEASURED, activities.measure),
            Chore("mailer ledger", timedelta(seconds=30), partial(measure_open, ports.database)),
            Chore("mailer erasures", timedelta(seconds=2), partial(finish, outbox, ports.database, Marks(ports.signer))),
        ],
    )


def build_scheduler(
    ports: Ports, outbox: Outbox, editions: Editions, links: Links, mail: MailTransport, webhooks: WebhookSender, *, alone: bool
) -> Scheduler:
    """What takes due deliveries out; whoever calls its `tick` is its clock."""
    ledger = Ledger(outbox, editions, HandoffDesk(outbox, ports.database, editions, links.respond_url))

    async def stands(delivery: Delivery) -> bool:
        async with ports.database.reading() as connection:
            found = await store.find_delivery(connection, delivery.id)
        return found is not None and found.claims == delivery.claims and found.status in WAITING

    marks = GroupCommit(outbox, ledger.mark)
    attempts = Attempts(editions, links, ports.signer, ports.clock, mail, webhooks, marks.put, Closed(), stands)
    settle = GroupCommit(outbox, ledger.settle)
    return Scheduler(outbox, ports.database, ports.clock, ledger, editions, attempts, settle, alone=alone)


def create_app(
    ports: Ports, outbox: Outbox, editions: Editions, links: Links, wake: Callable[[], None], checks: Sequence[Check] = ()
) -> FastAPI:
    """The mailer's HTTP face. `wake` tells the scheduler that something may be due, `checks` whether the mail server answers."""
    readers = LedgerReaders(outbox, ports.database, editions)
    wishes, answers = LedgerWishes(outbox, ports.database, editions), LedgerConfirmations(outbox, ports.database, editions)
    desk = HandoffDesk(outbox, ports.database, editions, links.respond_url)
    routers = [
        ledger_routes(ports),
        action_routes(ports, outbox, wake),
        message_routes(outbox, editions, ports.signer, wake),
        handoff_routes(ports),
        endpoint_routes(ports, outbox, editions, wake),
        suppression_routes(ports, outbox),
        audit_routes(ports),
        dead_letter_routes(ports, outbox),
        erasure_routes(ports, NAME),
        export_routes(ports),
        address_routes(ports),
        kpi_routes(ports, {"mail": count_mail, "handoffs": count_handoffs}),
        create_pages(readers, links, ports.clock),
        create_handoff_pages(desk, links, ports.clock),
        create_preference_pages(wishes, answers, links, ports.clock),
    ]
    return service_app(NAME, ports, routers, checks)
