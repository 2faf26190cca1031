"""Settings from outside: by option, by environment, by file; a bad one is named."""

from pathlib import Path

import pytest

from dripline.settings import RunSettings, read_settings
from shared.errors import ConfigurationError


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_a_setting_comes_from_a_file_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text("DRIPLINE_DATA_DIR=from-file\nDRIPLINE_LOG_FORMAT=json\nUNRELATED=1\n")
    monkeypatch.setenv("DRIPLINE_DATA_DIR", "from-environment")
    settings = read_settings(RunSettings)
    assert settings.data_dir == Path("from-environment")
    assert settings.log_format == "json"


def test_every_bad_setting_is_named_and_no_value_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIPLINE_LOG_FORMAT", "hunter2")
    monkeypatch.setenv("DRIPLINE_PUBLIC_URL", "shop.example")
    with pytest.raises(ConfigurationError, match=r"DRIPLINE_PUBLIC_URL: .*; DRIPLINE_LOG_FORMAT: ") as refused:
        read_settings(RunSettings)
    assert "hunter2" not in str(refused.value)


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIPLINE_PUBLIC_URL", "https://environment.example")
    assert read_settings(RunSettings, public_url="https://given.example/").public_url == "https://given.example"
