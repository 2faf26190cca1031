"""The mailer that the tests of this folder work on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders import a_lead
from tests.mailer_house import CONSENT, House


@pytest.fixture
async def house(tmp_path: Path, database_kind: str) -> AsyncIterator[House]:
    """A mailer with a published playbook that knows one lead, Ana, who consented."""
    house = House(tmp_path)
    await house.open()
    await house.know(a_lead(consent=CONSENT))
    yield house
    if house.books_balance:
        await house.audit()
    await house.scheduler.stop()
    await house.database.close()
