"""Settings: the page names all of them, and a misspelt one is told."""

import re
from pathlib import Path

from dripline.known_settings import ELSEWHERE, known, unknown

PAGE = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()


def test_the_page_names_every_setting_and_no_other():
    cells = re.findall(r"^\| (`DRIPLINE_[^|]+) \|", PAGE, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(DRIPLINE_[A-Z_]+)`", cell)}
    assert named == (known() | ELSEWHERE) - {"DRIPLINE_TEST_DATABASE"}


def test_a_misspelt_name_is_told_with_the_likely_one():
    (told,) = unknown(["DRIPLINE_SMPT_URL", "DRIPLINE_SMTP_URL", "PATH", "DRIPLINE_DATABASE_URL"])
    assert told.startswith("Warning: DRIPLINE_SMPT_URL is no setting, did you mean `DRIPLINE_SMTP_URL`?")
