# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for something to become true, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes waiters after each change, once the event that made it is over."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._waiting = 0

    def happened(self) -> None:
        """Something changed."""
        if self._waiting:
            self._event.set()
            self._event = asyncio.Event()

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds; False when it did not in that time. No time: look once."""
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    await self._event.wait()
        except TimeoutError:
            return true()
        finally:
            self._waiting -= 1
        return True
