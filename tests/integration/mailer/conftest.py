"""The mailer that the tests of this folder work on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from tests.builders import a_lead
from tests.mailer_house import CONSENT, House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A mailer with a published playbook that knows one lead, Ana, who consented."""
    house = House(tmp_path)
    async with house.database.transaction() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    house.version = await house.publish()
    await house.know(a_lead(consent=CONSENT))
    yield house
    await house.audit()
    await house.scheduler.stop()
    await house.database.close()
