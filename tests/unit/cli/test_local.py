"""The commands that work on this machine."""

from pathlib import Path

from tests.unit.cli.conftest import document

PLAYBOOK = """\
name: Starter
brand: {name: Acme, url: "https://acme.example", address: "1 High Street, Dublin"}
mail: {from: "Acme <hello@acme.example>", timezone: Europe/Dublin, locale: en}
"""
READINESS = """\
rules:
  - {id: ebook, event: Ebook Downloaded, at_least: 7}
"""


def a_playbook(folder: Path, playbook: str = PLAYBOOK) -> Path:
    folder.mkdir()
    (folder / "playbook.yaml").write_text(playbook)
    (folder / "readiness.yaml").write_text(READINESS)
    return folder


def a_data_folder(folder: Path) -> Path:
    """One that a `run` began and did not get to the tables."""
    folder.mkdir()
    (folder / "state.db").touch()
    return folder


def test_a_sound_playbook_is_exit_0(dripline, tmp_path: Path):
    result = dripline("check", str(a_playbook(tmp_path / "book")))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no mistakes" in result.stdout


def test_every_mistake_is_named_with_its_place(dripline, tmp_path: Path):
    folder = a_playbook(tmp_path / "book", PLAYBOOK + "nmae: x\n")
    result = dripline("check", str(folder))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{folder}/playbook.yaml:4:1: unknown key `nmae`")
    said = document(dripline("check", str(folder), "--format", "json"))
    assert (said["ok"], said["troubles"][0]["file"], said["troubles"][0]["line"]) == (False, "playbook.yaml", 4)


def test_a_folder_without_a_playbook_is_wrong_use(dripline, tmp_path: Path):
    for words in (("check", str(tmp_path)), ("run",), ("run", "--playbook", str(tmp_path))):
        result = dripline(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "playbook.yaml" in result.stderr


def test_migrating_twice_changes_nothing(dripline, tmp_path: Path):
    folder = a_data_folder(tmp_path / "data")
    first = document(dripline("migrate", "--data", str(folder), "--format", "json"))
    assert first["applied"]
    assert document(dripline("migrate", "--data", str(folder), "--format", "json")) == {"applied": [], "topics": [], "differing": []}


def test_migrating_a_folder_that_is_not_there_makes_none(dripline, tmp_path: Path):
    result = dripline("migrate", "--data", str(tmp_path / "typo"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "holds no database" in result.stderr
    assert not (tmp_path / "typo").exists()


def test_one_missing_variable_spoils_no_other_value(dripline, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("GOOD_URL", "https://acme.example")
    book = PLAYBOOK.replace("https://acme.example", "${GOOD_URL}").replace("1 High Street, Dublin", "${MISSING_STREET}")
    result = dripline("check", str(a_playbook(tmp_path / "book", book)))
    assert "1 mistake" in result.stdout
    assert "`${MISSING_STREET}` is not set" in result.stdout


def test_the_version_is_told(dripline):
    result = dripline("--version")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "dripline")


def test_without_a_run_the_folder_itself_is_opened(dripline, tmp_path: Path):
    folder = str(a_data_folder(tmp_path / "data"))
    dripline("migrate", "--data", folder)
    made = dripline("keys", "create", "write", "--name", "site", "--data", folder)
    assert (made.exit_code, made.stdout[:3]) == (0, "pk_")
    assert document(dripline("keys", "list", "--data", folder, "--format", "json"))["items"][0]["name"] == "site"
    assert dripline("lead", "nobody@example.com", "--data", folder).exit_code == 1
