"""One event, all the way, through the real process: README's first quarter of an hour, the command, mistakes, restarts.

One process serves the whole file; every test has leads of its own.
"""

import base64
import json
import re
import shutil
import signal
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest

from tests.e2e.house import CHECKOUT, STARTER, House, run_command, until, zone_at

GREET = """\
journey: greet
trigger: {event: Greeting Asked}
reentry: always
steps: [{id: hi, send: greeting}]
"""
GREETING = "---\nsubject: Hello\n---\n<p>Your code is %s.</p>\n"
PLAIN, WITH_CODE = "none", "{{ entry.properties.code }}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("run")
    playbook = shutil.copytree(STARTER, folder / "playbook")
    (playbook / "journeys" / "greet.yaml").write_text(GREET)
    (playbook / "templates" / "greeting.html").write_text(GREETING % PLAIN)
    house = House(folder, playbook)
    house.start()
    yield house
    house.close()


@pytest.fixture(scope="module")
def console(house: House) -> Iterator[httpx.Client]:
    """A browser's way into the pages: by the password that was printed."""
    (password,) = re.findall(r"password: (\S+)", house.said)
    with httpx.Client(base_url=house.url, trust_env=False, follow_redirects=True, headers={"Accept": "text/html"}) as client:
        assert client.get("/mailbox/").url.path == "/sign-in"
        assert client.post("/sign-in", data={"password": password, "next": "/"}).status_code == 200
        yield client


def readme_lines() -> list[tuple[str, dict[str, object]]]:
    """The path and the body of each curl line in the README."""
    found = re.findall(r"^curl -u \S+ \S+ http://127\.0\.0\.1:8300(\S+) -d '(.*)'$", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    return [(path, json.loads(body)) for path, body in found]


def post_as_curl(house: House, path: str, body: dict[str, object]) -> bytes:
    """As `curl -u KEY: URL -d BODY` does: with the content type of a form."""
    token = base64.b64encode(f"{house.secret_key}:".encode()).decode()
    request = urllib.request.Request(house.url + path, json.dumps(body).encode(), {"Authorization": f"Basic {token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        found: bytes = answer.read()
        return found


def page_of(mail: bytes, kind: str = "html") -> str:
    """A part of a mail as its reader gets it."""
    part = message_from_bytes(mail, policy=policy.default).get_body((kind,))
    assert part is not None
    text: str = part.get_content()
    return text


def test_the_readmes_three_lines_take_a_lead_from_1_to_hot(house: House, console: httpx.Client):
    identify, ebook, paid_link = readme_lines()
    assert post_as_curl(house, *identify) == b'{"success":true}'
    assert until(lambda: house.lead("ana"))["readiness"] == 1
    post_as_curl(house, *ebook)
    until(lambda: house.lead("ana")["readiness"] == 7)
    (mail,) = until(lambda: house.mails("ana"))
    post_as_curl(house, *paid_link)
    until(lambda: house.lead("ana")["hot"])
    assert house.lead("ana")["readiness"] == 9

    message = message_from_bytes(mail, policy=policy.default)
    assert message["To"] == "Ana <ana@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Hello Ana" in page_of(mail)
    assert "Hello Ana" in page_of(mail, "plain")
    assert str(message["Subject"]) in console.get("/mailbox/").text
    sales = until(lambda: page if "Ana" in (page := console.get("/demo/sales").text) else "")
    assert "clicked the paid link" in sales
    (handoff,) = house.deliveries("ana", kind="webhook")
    assert (handoff["status"], handoff["journey"]) == ("sent", "sales-handoff")
    page = console.get(f"/leads/{house.lead('ana')['id']}").text
    assert "clicked the paid link" in page
    assert "9 of 10" in re.sub(r"<[^>]+>", " ", page).replace("  ", " ")


def test_the_command_tells_of_a_lead(house: House):
    house.reader("bea", name="Bea")
    house.event("bea", "Ebook Downloaded", title="The guide")
    until(lambda: [row for row in house.deliveries("bea") if row["status"] == "sent"])
    told = house.told("lead", "bea@example.com")
    assert (told["user_id"], told["readiness"]) == ("bea", 7)
    assert [reason["rule"] for reason in told["reasons"]] == ["ebook"]
    assert {"event", "readiness", "step", "delivery"} <= {item["kind"] for item in told["timeline"]}
    text = house.command("lead", "bea")
    assert (text.returncode, "downloaded an e-book" in text.stdout) == (0, True)
    unknown = house.command("lead", "nobody@example.com")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no lead nobody@example.com" in unknown.stderr


def test_the_command_lists_deliveries_and_the_audit_reconciles(house: House):
    house.reader("cid")
    house.event("cid", "Greeting Asked")
    until(lambda: [row for row in house.deliveries("cid") if row["status"] == "sent"])
    (row,) = house.told("deliveries", "list", "--lead", "cid", "--status", "sent")["items"]
    assert (row["template"], row["journey"], row["attempts"]) == ("greeting", "greet", 1)
    assert house.command("deliveries", "list", "--status", "lost").returncode == 2
    audit = house.told("audit")
    assert audit["ok"]
    assert audit["checks"]


def test_a_bad_event_is_set_aside_alone_and_can_be_replayed(house: House):
    good = [{"type": "track", "userId": "dov", "event": name} for name in ("Signed Up", "Webinar Attended")]
    answer = house.track("batch", {"batch": [good[0], {"type": "track", "userId": "dov", "event": "Email Sent"}, good[1]]})
    assert answer.status_code == 200
    assert [(one["index"], one["code"]) for one in answer.json()["rejected"]] == [(1, "reserved_name")]
    assert until(lambda: house.lead("dov"))
    until(lambda: house.lead("dov")["readiness"] == 8)
    letters = until(lambda: [one for one in house.told("dead-letters", "list")["items"] if one["code"] == "reserved_name"])
    shown = house.told("dead-letters", "show", letters[0]["id"])
    assert shown["service"] == "ingest"
    assert "Email Sent" in shown["payload"]
    assert "reserved_name" in house.command("dead-letters", "list").stdout
    replayed = house.told("dead-letters", "replay", letters[0]["id"])["items"]
    assert replayed[0]["replayed_at"]
    until(lambda: house.get(f"/api/dead-letters/{letters[0]['id']}")["replayed_at"] is None)  # still wrong: it waits again
    assert house.command("dead-letters", "show", "nothing").returncode == 1


def test_a_made_key_posts_and_an_ended_one_does_not(house: House):
    made = house.told("keys", "create", "write", "--name", "the shop")
    key = made["token"]

    def post() -> int:
        return house.http.post(f"{house.url}/v1/track", json={"userId": "eve", "event": "Signed Up"}, auth=(key, "")).status_code

    assert post() == 200
    assert house.http.get(f"{house.url}/api/leads", headers={"Authorization": f"Bearer {key}"}).status_code == 403
    assert (made["id"], "the shop") in [(one["id"], one["name"]) for one in house.told("keys", "list")["items"]]
    assert house.command("keys", "revoke", made["id"]).returncode == 0
    until(lambda: post() == 401)
    assert house.command("keys", "revoke", "pk_00000000").returncode == 1
    assert house.command("keys", "create", "golden").returncode == 2


def test_a_browsers_key_makes_nobody_mailable(house: House):
    write_key = (house.data / "write_key").read_text().strip()
    traits = {"email": "fay@example.com", "consent": True}
    for path, body in (("identify", {"traits": traits}), ("track", {"event": "Greeting Asked"})):
        answer = house.http.post(f"{house.url}/v1/{path}", json={"userId": "fay", **body}, auth=(write_key, ""))
        assert answer.status_code == 200
    (row,) = until(lambda: [row for row in house.deliveries("fay") if row["status"] == "suppressed"])
    assert row["reason"] == "no_consent"
    assert house.mails("fay") == []


def test_one_click_unsubscribes_and_the_next_mail_is_suppressed(house: House):
    house.reader("gus")
    house.event("gus", "Greeting Asked")
    (mail,) = until(lambda: house.mails("gus"))
    message = message_from_bytes(mail)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = str(message["List-Unsubscribe"]).strip("<>")
    assert house.http.get(url).status_code == 200
    assert house.lead("gus")["consent"]["marketing"]
    answer = house.http.post(url, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)
    assert answer.status_code == 200
    until(lambda: not house.lead("gus")["consent"]["marketing"])
    house.event("gus", "Greeting Asked")
    (row,) = until(lambda: [row for row in house.deliveries("gus") if row["status"] == "suppressed"])
    assert row["reason"] == "no_consent"
    assert len(house.mails("gus")) == 1


def test_a_click_in_a_mail_leads_on_and_counts(house: House):
    house.reader("hal")
    house.event("hal", "Ebook Downloaded")
    (mail,) = until(lambda: house.mails("hal"))
    link = next(url for url in re.findall(r'href="([^"]+)"', page_of(mail)) if "/c/" in url)
    answer = house.http.get(link, headers={"User-Agent": "Mozilla/5.0 Firefox/140.0"})
    assert (answer.status_code, answer.headers["Location"].startswith(f"{house.url}/shop")) == (302, True)
    until(lambda: any(row["clicked_at"] for row in house.deliveries("hal")))
    until(lambda: house.lead("hal")["points"] > 7)


def published(house: House, code: str) -> None:
    """Write the greeting anew, and wait until it is in force."""
    before = house.said.count("is in force")
    (house.playbook / "templates" / "greeting.html").write_text(GREETING % code)
    until(lambda: house.said.count("is in force") > before)


def test_a_broken_template_is_refused_and_the_last_good_one_goes_on(house: House):
    (house.playbook / "templates" / "greeting.html").write_text(GREETING % "{{ nobody }}")
    until(lambda: "templates/greeting.html:4:1: there is no `nobody` here" in house.log)
    house.reader("ida")
    house.event("ida", "Greeting Asked")
    assert until(lambda: house.mails("ida"))
    published(house, PLAIN)


def test_a_mail_that_cannot_be_written_waits_until_its_template_is_mended(house: House):
    published(house, WITH_CODE)
    house.reader("jon")
    house.reader("kim")
    house.event("jon", "Greeting Asked")
    house.event("kim", "Greeting Asked", code="K1")
    assert "K1" in page_of(until(lambda: house.mails("kim"))[0])
    (row,) = until(lambda: [row for row in house.deliveries("jon") if row["status"] == "deferred"])
    assert row["reason"] == "template"
    assert house.told("deliveries", "retry", row["id"])["items"][0]["id"] == row["id"]
    until(lambda: [row for row in house.deliveries("jon") if row["status"] == "deferred"])
    published(house, WITH_CODE.replace(" }}", " | default('J1') }}"))
    assert "J1" in page_of(until(lambda: house.mails("jon"))[0])
    assert until(lambda: [row["status"] for row in house.deliveries("jon")] == ["sent"])


def test_a_restart_keeps_everything(house: House):
    house.reader("lea")
    house.event("lea", "Ebook Downloaded")
    (mail,) = until(lambda: house.mails("lea"))
    told = house.lead("lea")
    assert house.stop(signal.SIGINT) == 0
    assert not (house.data / "run.json").exists()
    offline = house.command("lead", "lea")  # without a `run`, the command opens the folder itself
    assert (offline.returncode, "downloaded an e-book" in offline.stdout) == (0, True)
    house.start()
    assert house.said.count("password: ") == 1
    assert house.lead("lea") == told
    assert house.mails("lea") == [mail]
    message = message_from_bytes(mail)
    assert house.http.get(str(message["List-Unsubscribe"]).strip("<>")).status_code == 200
    house.event("lea", "Webinar Attended")
    until(lambda: house.lead("lea")["readiness"] == 8)


def test_a_stop_in_the_middle_of_sending_leaves_nothing_in_doubt(house: House):
    users = [f"nia{number}" for number in range(120)]
    traits = [{"email": f"{user}@example.com", "consent": True, "timezone": zone_at(12)} for user in users]
    identified = [{"type": "identify", "userId": user, "traits": told} for user, told in zip(users, traits, strict=True)]
    asked = [{"type": "track", "userId": user, "event": "Greeting Asked"} for user in users]
    assert house.track("batch", {"batch": identified + asked}).status_code == 200
    until(lambda: any(house.mails(user) for user in users))
    assert house.stop() == 0
    house.start()
    until(lambda: house.get("/api/deliveries", journey="greet", status="queued", limit=1)["items"] == [], 30)
    until(lambda: house.get("/api/deliveries", journey="greet", status="sending", limit=1)["items"] == [])
    assert house.get("/api/deliveries", status="in_doubt")["items"] == []
    assert [len(house.mails(user)) for user in users] == [1] * len(users)


def test_a_killed_process_starts_again_and_has_all_it_said_yes_to(house: House):
    house.reader("max")
    for _ in range(20):
        house.event("max", "Signed Up")
    house.event("max", "Webinar Attended")
    assert house.stop(signal.SIGKILL) == -signal.SIGKILL
    assert (house.data / "run.json").exists()
    house.start()
    until(lambda: (lead := house.lead("max")) and lead["readiness"] == 8)
    until(lambda: [row["status"] for row in house.deliveries("max")] == ["sent"])
    assert len(house.mails("max")) == 1
    assert house.told("audit")["ok"]


def test_a_playbook_with_mistakes_ends_with_2(house: House, tmp_path: Path):
    bad = shutil.copytree(STARTER, tmp_path / "bad")
    (bad / "readiness.yaml").write_text("hot: nine\nrules: []\n")
    refused = run_command("run", "--playbook", str(bad), "--port", "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert re.search(r"^readiness\.yaml:1:6: ", refused.stderr, re.MULTILINE)
    assert "Traceback" not in refused.stderr + house.log


def test_an_address_of_a_page_that_needs_a_session_leads_there_after_signing_in(console: httpx.Client, house: House):
    with httpx.Client(base_url=house.url, trust_env=False) as stranger:
        answer = stranger.get("/demo/sales", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["Location"]).query) == {"next": ["/demo/sales"]}
    assert console.get("/demo/sales").status_code == 200


def test_a_person_is_erased_by_the_command_and_nothing_is_left(house: House):
    house.reader("forgotten-fay", name="Fay Forgotten")
    house.event("forgotten-fay", "Greeting Asked")
    until(lambda: house.mails("forgotten-fay"))
    exported = json.loads(house.command("export", "forgotten-fay@example.com").stdout)
    assert exported["profile"]["traits"]["name"] == "Fay Forgotten"
    told = house.told("erase", "forgotten-fay@example.com", "--yes")
    assert [one["done"] for one in told["items"]] == [True]
    assert house.mails("forgotten-fay") == []
    assert house.command("lead", "forgotten-fay").returncode == 1
    again = house.command("erase", "forgotten-fay@example.com", "--yes")
    assert (again.returncode, again.stdout.strip()) == (0, "nothing is held any more for forgotten-fay@example.com")
    said = (b"forgotten-fay", b"Fay Forgotten")
    held = [str(path) for path in house.data.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in said)]
    assert held == []
    assert house.told("audit")["ok"]
