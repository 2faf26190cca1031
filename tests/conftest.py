"""What every test may ask for."""

import os
from collections.abc import Callable
from typing import NoReturn

import pytest


def without(name: str, reason: str) -> NoReturn:
    """End the test for want of a service (a browser, Node): skipped, or failed where REQUIRE_SERVICES=1 promises it."""
    message = f"without {name}: {reason}"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require_service() -> Callable[[str, str], NoReturn]:
    """Call it with a service's name and why it is missing."""
    return without
