"""What `run` refuses before it starts anything, each with its place and its remedy."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dripline import serve
from dripline.data_folder import DataFolder
from dripline.running import run
from shared.errors import ConfigurationError

STARTER = Path(__file__).parents[3] / "playbooks" / "starter"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DRIPLINE_PLAYBOOK", "DRIPLINE_DATA_DIR", "DRIPLINE_SMTP_URL", "SALES_WEBHOOK_URL", "SALES_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def refusal(playbook: Path | None = STARTER, data: Path | None = None, port: int = 0, host: str = "127.0.0.1", *, demo: bool = True) -> str:
    with pytest.raises(ConfigurationError) as refused:
        run(playbook, data or Path("data"), host, port, 1.0, demo=demo)
    return str(refused.value)


def test_no_playbook_here():
    assert refusal(None) == "no playbook.yaml in this folder; name one: dripline run --playbook playbooks/starter"
    assert not Path("data").exists()


def test_no_playbook_there(tmp_path: Path):
    assert "no playbook.yaml here" in refusal(tmp_path)


def test_a_port_in_use_names_the_remedy(taken: int):
    again = f"--port {taken + 1} --data data"
    assert refusal(port=taken) == f'port {taken} on 127.0.0.1 is in use; take another: make run ARGS="{again}" (or dripline run {again})'


def test_a_service_whose_port_is_in_use_names_its_own_remedy(taken: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve, "_refuse_old_schema", lambda _: None)
    monkeypatch.setenv("DRIPLINE_DATABASE_URL", "postgresql+asyncpg://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("DRIPLINE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("DRIPLINE_SECRET_KEY", "a secret of this test, long enough")
    with pytest.raises(ConfigurationError) as refused:
        serve.serve("scoring", "127.0.0.1", taken)
    assert str(refused.value) == f"port {taken} on 127.0.0.1 is in use; take another: dripline serve scoring --port {taken + 1}"


def test_an_address_that_is_not_ours():
    assert refusal(host="203.0.113.7").startswith("cannot listen on 203.0.113.7:0: ")


def test_a_data_folder_in_use(tmp_path: Path):
    with DataFolder(tmp_path / "data").locked():
        assert refusal(data=tmp_path / "data").endswith("data: in use by another process; stop it, or choose another folder with --data")


def test_a_data_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    assert "cannot be written (Not a directory)" in refusal(data=tmp_path / "file" / "data")


def test_every_mistake_of_the_playbook_at_once(tmp_path: Path):
    book = shutil.copytree(STARTER, tmp_path / "book")
    (book / "journeys" / "welcome.yaml").write_text("journey: welcome\ntrigger: {event: Signed Up}\nsteps: [{id: hello, send: nothing}]\n")
    (book / "templates" / "welcome-1.html").write_text("---\nsubject: Hi\n---\n{% if %}\n")
    first, *troubles = refusal(book).splitlines()
    assert first == "the playbook has mistakes; nothing was started"
    assert [trouble.split(": ")[0] for trouble in troubles] == ["journeys/welcome.yaml:3:27", "templates/welcome-1.html:4:1"]


def test_without_the_demo_the_sales_endpoint_must_be_named():
    assert "`${SALES_WEBHOOK_URL}` is not set" in refusal(demo=False)


def test_a_mail_server_that_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIPLINE_SMTP_URL", "http://mail.example")
    assert refusal().startswith("DRIPLINE_SMTP_URL must look like smtp://")
