"""The scoring that the tests of this folder work on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scoring_house import House


@pytest.fixture
async def house(tmp_path: Path, database_kind: str) -> AsyncIterator[House]:
    """Scoring under the rules of the playbook guide; at the end its books must balance."""
    opened = House(tmp_path)
    await opened.open()
    yield opened
    if opened.books_balance:
        await opened.audit()
    await opened.close()
