"""A data folder that no `run` holds, asked through the same API without a socket."""

from pathlib import Path

import pytest

from dripline.data_folder import DataFolder
from dripline.embedded import opened
from shared.errors import ConfigurationError


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_it_answers_and_lets_the_folder_go(tmp_path: Path):
    for _ in range(2):
        async with opened(tmp_path / "data") as (client, token):
            answer = await client.get("/api/keys", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
            assert (await client.get("/readyz")).status_code == 200
    with DataFolder(tmp_path / "data").locked():
        pass


async def test_a_key_fixed_by_the_settings_is_the_one_that_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIPLINE_API_KEY", "sk_fixed")
    async with opened(tmp_path / "data") as (client, token):
        assert token == "sk_fixed"
        assert (await client.get("/api/keys", headers={"Authorization": "Bearer sk_fixed"})).status_code == 200
        assert (await client.get("/api/keys")).status_code == 401


async def test_a_folder_in_use_is_refused(tmp_path: Path):
    with DataFolder(tmp_path / "data").locked(), pytest.raises(ConfigurationError, match="in use"):
        async with opened(tmp_path / "data"):
            pass


async def test_it_makes_no_password_that_nobody_would_be_told(tmp_path: Path):
    async with opened(tmp_path / "data"):
        pass
    assert DataFolder(tmp_path / "data").console_password()[1]
