"""The stages' thread: what it ends, in which order, and what it says when one of them dies."""

import asyncio
import threading

from structlog.testing import capture_logs

from dripline.worker import Worker


class Stage:
    """A loop that says when it begins and ends, and takes a moment to end."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name = name
        self._told = told

    async def __call__(self) -> None:
        self._told.append(f"{self._name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self._told.append(f"{self._name} ends")


async def fails() -> None:
    raise ValueError("broken")


def worker_of(told: list[str], *more, on_failure=lambda: None) -> Worker:
    async def clean_up() -> None:
        told.append("cleaned up")

    return Worker([Stage("journeys", told), *more], [Stage("mailbox", told)], clean_up, on_failure)


def test_what_the_stages_stand_on_ends_after_them():
    told: list[str] = []
    worker = worker_of(told)
    worker.start()
    worker.stop()
    assert told == ["mailbox begins", "journeys begins", "journeys ends", "mailbox ends", "cleaned up"]
    assert not worker.failed


def test_one_that_dies_ends_all_and_is_told():
    told: list[str] = []
    failed = threading.Event()
    with capture_logs() as logs:
        worker = worker_of(told, fails, on_failure=failed.set)
        worker.start()
        assert failed.wait(10)
        worker.stop()
    assert worker.failed
    assert told[-1] == "cleaned up"
    assert {"journeys ends", "mailbox ends"} <= set(told)
    assert [entry["why"] for entry in logs] == ["ValueError('broken')"]


def test_what_they_stand_on_may_not_die_either():
    failed = threading.Event()

    async def clean_up() -> None:
        return

    with capture_logs():
        worker = Worker([Stage("journeys", [])], [fails], clean_up, failed.set)
        worker.start()
        assert failed.wait(10)
        worker.stop()
    assert worker.failed


def test_one_that_never_started_can_be_stopped():
    worker_of([]).stop()
