"""`dripline publish`: what it sends, and what it says."""

from pathlib import Path

from tests.unit.cli.api import Api
from tests.unit.cli.conftest import document


def a_playbook(folder: Path) -> Path:
    (folder / "journeys").mkdir(parents=True)
    (folder / "playbook.yaml").write_text("name: چای\n")
    (folder / "journeys" / "welcome.yaml").write_text("journey: welcome\n")
    return folder


def test_a_folder_is_published_file_by_file(api: Api, dripline, tmp_path: Path):
    api.answers["POST", "/api/playbook"] = {"version": "0123456789abcdef", "files": ["journeys/welcome.yaml", "playbook.yaml"]}
    shown = dripline("publish", str(a_playbook(tmp_path / "tea")))
    assert (shown.exit_code, shown.stdout) == (0, "version 0123456789abcdef is in force: 2 files\n")
    assert api.asked[-1][3] == {"files": {"journeys/welcome.yaml": "journey: welcome\n", "playbook.yaml": "name: چای\n"}}
    assert document(dripline("publish", str(tmp_path / "tea"), "--format", "json"))["version"] == "0123456789abcdef"


def test_mistakes_are_said_and_nothing_is_in_force(api: Api, dripline, tmp_path: Path):
    said = {"code": "mistakes", "message": "nothing was published, the playbook has mistakes\nreadiness.yaml:2:42: unknown key"}
    api.answers["POST", "/api/playbook"] = (400, said)
    shown = dripline("publish", str(a_playbook(tmp_path / "tea")))
    assert shown.exit_code == 2
    assert "readiness.yaml:2:42: unknown key" in shown.stderr


def test_a_file_that_is_no_utf8_is_named(api: Api, dripline, tmp_path: Path):
    folder = a_playbook(tmp_path / "tea")
    (folder / "playbook.yaml").write_bytes("name: Café\n".encode("latin-1"))
    shown = dripline("publish", str(folder))
    assert shown.exit_code == 1
    assert "playbook.yaml: byte 9 is no UTF-8; save the file as UTF-8" in shown.stderr


def test_a_folder_that_is_no_playbook_is_wrong_use(api: Api, dripline, tmp_path: Path):
    shown = dripline("publish", str(tmp_path))
    assert shown.exit_code == 2
    assert "no playbook.yaml here" in shown.stderr
    assert not api.asked
