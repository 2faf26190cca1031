"""The thread that the stages run on: one event loop of its own, so that folding a batch never keeps an HTTP answer waiting."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import uvloop

from shared.errors import DriplineError
from shared.service import Loop
from shared.telemetry import log as logger

STOP_SECONDS = 15.0


class Worker:
    """Runs loops until stopped. If one fails, all end and `on_failure` is called: a process with a dead stage must not look alive."""

    def __init__(
        self, loops: Sequence[Loop], footing: Sequence[Loop], clean_up: Callable[[], Awaitable[None]], on_failure: Callable[[], object]
    ) -> None:
        """`footing` is what the loops stand on: it ends after them, so that what they have in hand can end well."""
        self._loops = loops
        self._footing = footing
        self._clean_up = clean_up
        self._on_failure = on_failure
        self._begun = threading.Event()
        self._main: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="stages", daemon=True)
        self.failed = False

    def start(self) -> None:
        """Start the thread; on return its loops run."""
        self._thread.start()
        self._begun.wait()

    def stop(self) -> None:
        """End every loop at its next await and wait for the thread; what is in flight is made good at the next start."""
        if self._main is None:
            return
        with suppress(RuntimeError):  # it has ended already
            self._main.get_loop().call_soon_threadsafe(self._main.cancel)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._everything())
        finally:
            self._begun.set()

    async def _everything(self) -> None:
        self._main = asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as below, asyncio.TaskGroup() as group:
                for loop in self._footing:
                    below.create_task(_running(loop))
                for loop in self._loops:
                    group.create_task(_running(loop))
                self._begun.set()
        except* Exception as failures:  # noqa: BLE001 - whatever it was, the process ends and says so
            self.failed = True
            for failure in _leaves(failures):
                is_bug = not isinstance(failure, DriplineError)  # ours says what is wrong, and where
                logger.error("stage.failed", why=repr(failure) if is_bug else str(failure), exc_info=failure if is_bug else None)
            self._on_failure()
        finally:
            await self._clean_up()


async def _running(loop: Loop) -> None:
    await loop()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
