"""The thread that the stages run on: one event loop of its own, so that folding a batch never keeps an HTTP answer waiting."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from shared.service import Loop
from shared.telemetry import log as logger

STOP_SECONDS = 15.0


class Worker:
    """Runs loops until stopped. If one fails, all end and `on_failure` is called: a process with a dead stage must not look alive."""

    def __init__(self, loops: Sequence[Loop], clean_up: Callable[[], Awaitable[None]], on_failure: Callable[[], None]) -> None:
        self._loops = loops
        self._clean_up = clean_up
        self._on_failure = on_failure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="stages", daemon=True)
        self.failed = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End every loop at its next await and wait for the thread; what is in flight is made good at the next start."""
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._everything())

    async def _everything(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        try:
            async with asyncio.TaskGroup() as group:
                for loop in self._loops:
                    group.create_task(_running(loop))
        except* Exception as failures:  # noqa: BLE001 - whatever it was, the process ends and says so
            self.failed = True
            for failure in failures.exceptions:
                logger.error("stage.failed", why=repr(failure), exc_info=failure)
            self._on_failure()
        finally:
            await self._clean_up()


async def _running(loop: Loop) -> None:
    await loop()
