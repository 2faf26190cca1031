"""The sales inbox of `run`: signed webhooks, each shown once, none lost to a kill."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dripline.demo import sales
from dripline.demo.sales import SalesInbox
from shared.clock import real_now
from shared.http import Problem

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"


class Mailer:
    """What stands behind `respond_url`: notes what was answered, and takes the first answer."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, Any]] = []
        self.app = Starlette(routes=[Route("/hooks/handoff/{token}", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> JSONResponse:
        self.answers.append((request.path_params["token"], await request.json()))
        return JSONResponse({}) if len(self.answers) == 1 else JSONResponse({"code": "accepted", "message": "that stands"}, 409)


def an_inbox(folder: Path, mailer: Mailer | None = None) -> SalesInbox:
    return SalesInbox(folder / "sales.jsonl", SECRET, lambda: datetime(2027, 3, 1, 12, 0, tzinfo=UTC), (mailer or Mailer()).app)


def send(inbox: SalesInbox, name: str, webhook_id: str = "w1", secret: str = SECRET) -> None:
    told = {"respond_url": f"https://mail.example/hooks/handoff/{webhook_id}", "lead": {"name": name}}
    body = json.dumps({"type": "lead.hot", "data": told})
    at = real_now()
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(int(at.timestamp()))}
    inbox.take(headers | {"webhook-signature": Webhook(secret).sign(webhook_id, at, body)}, body.encode())


def names(inbox: SalesInbox) -> list[str]:
    return [one["content"]["data"]["lead"]["name"] for one in inbox.newest()]


def test_hot_leads_are_shown_newest_first_and_after_a_restart_too(tmp_path: Path):
    inbox = an_inbox(tmp_path)
    send(inbox, "Ana", "w1")
    send(inbox, "Bea", "w2")
    assert names(inbox) == names(an_inbox(tmp_path)) == ["Bea", "Ana"]


def test_a_webhook_that_comes_again_is_shown_once(tmp_path: Path):
    inbox = an_inbox(tmp_path)
    send(inbox, "Ana")
    send(inbox, "Ana")
    again = an_inbox(tmp_path)
    send(again, "Ana")
    assert names(inbox) == names(again) == ["Ana"]


def test_a_strangers_webhook_is_refused(tmp_path: Path):
    inbox = an_inbox(tmp_path)
    with pytest.raises(Problem) as refused:
        send(inbox, "Mallory", secret=OTHER)
    assert refused.value.status == 401
    with pytest.raises(Problem):
        inbox.take({}, b"{}")
    assert names(inbox) == []


def test_a_line_torn_by_a_kill_is_left_out_and_may_come_again(tmp_path: Path):
    inbox = an_inbox(tmp_path)
    send(inbox, "Ana", "w1")
    send(inbox, "Bea", "w2")
    file = tmp_path / "sales.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    again = an_inbox(tmp_path)
    assert names(again) == ["Ana"]
    send(again, "Bea", "w2")
    assert names(an_inbox(tmp_path)) == ["Bea", "Ana"]


def test_what_the_disk_did_not_take_may_come_again(tmp_path: Path):
    inbox = SalesInbox(tmp_path / "later" / "sales.jsonl", SECRET, real_now, Mailer().app)
    with pytest.raises(OSError, match="No such file"):
        send(inbox, "Ana")
    (tmp_path / "later").mkdir()
    send(inbox, "Ana")
    assert names(inbox) == ["Ana"]


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sales, "KEEP", 2)
    inbox = an_inbox(tmp_path)
    for number in range(4):
        send(inbox, str(number), f"w{number}")
    assert names(inbox) == names(an_inbox(tmp_path)) == ["3", "2"]
    assert len((tmp_path / "sales.jsonl").read_bytes().splitlines()) == 2


async def test_a_button_answers_where_every_sales_team_answers(tmp_path: Path):
    mailer = Mailer()
    inbox = an_inbox(tmp_path, mailer)
    send(inbox, "Ana", "w1")
    await inbox.answer("w1", "accepted")
    assert mailer.answers == [("w1", {"answer": "accepted"})]
    with pytest.raises(Problem, match="that stands") as late:
        await inbox.answer("w1", "rejected")
    with pytest.raises(Problem) as unknown:
        await inbox.answer("w9", "accepted")
    assert (late.value.status, unknown.value.status) == (409, 404)


def test_what_was_sent_is_shown_as_it_was_sent(tmp_path: Path):
    inbox = an_inbox(tmp_path)
    send(inbox, "آنا <b> & 'co'")
    [shown] = inbox.newest()
    assert "آنا <b> & 'co'" in shown["text"]
    assert shown["text"].index('"type"') < shown["text"].index('"data"') < shown["text"].index('"lead"')
