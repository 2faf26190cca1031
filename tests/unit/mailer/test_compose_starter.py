"""The starter playbook's mails are written for every reader it can meet, also for one of whom only the address is known."""

from pathlib import Path

import pytest

from dripline.environment import playbook_environment
from services.mailer.compose import compose
from services.mailer.links import Links
from services.mailer.loader import load
from shared.playbooks import read_folder
from shared.signing import Signer
from shared.wire import Entry
from tests.builders import A_SECRET, NOON, a_lead, a_send

FILES = read_folder(Path(__file__).parents[3] / "playbooks" / "starter").files
STARTER = load(FILES, playbook_environment(secret=A_SECRET), "v1")
LINKS = Links(Signer(b"k" * 32), "http://127.0.0.1:8300")


@pytest.mark.parametrize("event", ["Signed Up", "Ebook Downloaded"])
@pytest.mark.parametrize("traits", [{}, {"name": None}, {"name": "Ana"}])
@pytest.mark.parametrize("template", sorted(STARTER.templates))
def test_every_mail_of_the_starter_is_written(template: str, traits: dict[str, str | None], event: str) -> None:
    send = a_send(template, entry=Entry(at=NOON, event=event))
    mail = compose(STARTER, send, a_lead(traits=traits), LINKS, "<m@acme.example>", NOON)
    assert mail.subject
    assert mail.targets
    assert len(mail.data) < 16_000
