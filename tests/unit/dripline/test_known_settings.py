"""Settings: the page names all of them, and a misspelt one is told."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from dripline.known_settings import ELSEWHERE, known, unknown
from dripline.settings import ServeSettings
from services.mailer.settings import MailerSettings

PAGE = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()


def test_the_page_names_every_setting_and_no_other():
    cells = re.findall(r"^\| (`DRIPLINE_[^|]+) \|", PAGE, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(DRIPLINE_[A-Z_]+)`", cell)}
    assert named == (known() | ELSEWHERE) - {"DRIPLINE_TEST_DATABASE"}


@pytest.mark.parametrize("settings", [ServeSettings, MailerSettings], ids=lambda settings: settings.__name__)
def test_whoever_runs_services_finds_all_that_they_need_in_one_place(settings: type[BaseSettings]):
    told = PAGE.split("\n## `dripline serve`\n")[1].split("\n## ")[0]
    needed = {f"DRIPLINE_{name.upper()}" for name, field in settings.model_fields.items() if field.is_required()}
    assert needed <= set(re.findall(r"`(DRIPLINE_\w+)`", told))


def test_a_misspelt_name_is_told_with_the_likely_one():
    (told,) = unknown(["DRIPLINE_SMPT_URL", "DRIPLINE_SMTP_URL", "PATH", "DRIPLINE_DATABASE_URL"])
    assert told.startswith("Warning: DRIPLINE_SMPT_URL is no setting, did you mean `DRIPLINE_SMTP_URL`?")
