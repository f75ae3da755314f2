# SPDX-License-Identifier: GPL-2.0-or-later
"""An event loop in which time passes only while nothing is to be done, and threads' work is done at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class _Inline(concurrent.futures.ThreadPoolExecutor):
    """Does work where it is given."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (it is the caller's)
            done.set_exception(error)
        return done


class _Selector(selectors.DefaultSelector):
    """Waits for no time at all, and tells how long it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self.slept += max(timeout, 0.0)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its time begins at 1000 s. Exceptions that nobody awaits are kept in `unheard`."""

    def __init__(self) -> None:
        self._waiting = _Selector()
        super().__init__(self._waiting)
        self.set_default_executor(_Inline(1))
        self.unheard: list[Mapping[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.unheard.append(context))

    def time(self) -> float:
        return 1000.0 + self._waiting.slept

    def work(self, seconds: float) -> None:
        """What is being done takes so long."""
        self._waiting.slept += seconds


def simulate(scene: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a scene in a loop of its own. AssertionError when an exception came out that nobody awaited."""
    loop = SimulatedLoop()
    try:
        found = loop.run_until_complete(scene())
        assert not loop.unheard, loop.unheard
        return found
    finally:
        loop.close()
