"""The data folder: one process at a time, secrets made once and private, refusals that name the remedy."""

import json
from pathlib import Path

import pytest

from dripline.data_folder import LAYOUT, DataFolder
from shared.errors import ConfigurationError, Outage


def test_a_folder_is_made_with_room_for_nobody_else(tmp_path: Path):
    folder = DataFolder(tmp_path / "deep" / "down")
    with folder.locked():
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_told_where_the_first_one_answers(tmp_path: Path):
    folder = DataFolder(tmp_path)
    with folder.locked():
        folder.announce("http://127.0.0.1:8300", "sk_x")
        with pytest.raises(ConfigurationError, match=r"in use by http://127\.0\.0\.1:8300; stop it, or choose another"):
            DataFolder(tmp_path).locked().__enter__()


def test_a_folder_is_free_again_when_its_process_has_let_go(tmp_path: Path):
    folder = DataFolder(tmp_path)
    with folder.locked():
        pass
    with folder.locked():
        pass


def test_a_folder_of_a_newer_dripline_is_refused(tmp_path: Path):
    (tmp_path / "layout").write_text(f"{LAYOUT + 1}\n")
    with pytest.raises(ConfigurationError, match="of a newer Dripline"), DataFolder(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written \(Not a directory\); choose another folder with --data"):
        DataFolder(tmp_path / "file" / "data").locked().__enter__()


def test_a_secret_is_made_once_and_read_by_its_owner_alone(tmp_path: Path):
    folder = DataFolder(tmp_path)
    assert folder.api_key().startswith("sk_")
    assert folder.api_key() == folder.api_key() != folder.write_key()
    assert (tmp_path / "api_key").stat().st_mode & 0o777 == 0o600


def test_the_password_is_new_once(tmp_path: Path):
    folder = DataFolder(tmp_path)
    password, is_new = folder.console_password()
    assert is_new
    assert folder.console_password() == (password, False)


def test_the_announcement_is_private_and_goes_with_the_process(tmp_path: Path):
    folder = DataFolder(tmp_path)
    folder.announce("http://127.0.0.1:1", "sk_secret")
    assert json.loads((tmp_path / "run.json").read_text())["token"] == "sk_secret"
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    folder.withdraw_announcement()
    folder.withdraw_announcement()
    assert not (tmp_path / "run.json").exists()


def test_what_the_disk_does_not_take_is_an_outage(tmp_path: Path):
    with pytest.raises(Outage, match="cannot be written"):
        DataFolder(tmp_path / "gone").write_private("clock", "now")
