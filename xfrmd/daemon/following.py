# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy in force follows the facts of this host, however often the kernel refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xfrmd import limits
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.parts import Errands
from xfrmd.errors import KernelError
from xfrmd.model.notice import Level, Notice


class Following:
    """`tell` writes a notice for the operator."""

    def __init__(self, enforcement: Enforcement, errands: Errands, tell: Callable[[Notice], None]) -> None:
        self._enforcement = enforcement
        self._errands = errands
        self._tell = tell
        self._wanted = self._works = False

    def facts_changed(self) -> None:
        """The network changed: look at the facts, and compile anew if they did."""
        self._wanted = True
        if not self._works:
            self._works = True
            self._errands.start("facts", self._follow())

    async def _follow(self) -> None:
        pause = 0.0
        try:
            while self._wanted:
                await asyncio.sleep(pause)
                self._wanted = False
                pause = await self._once(pause)
        finally:
            self._works = False

    async def _once(self, pause: float) -> float:
        """Seconds until it is to be tried again, 0 when it need not."""
        try:
            changed = await self._enforcement.refresh()
        except KernelError as error:
            self._wanted = True
            if not pause:
                self._refused(error)
            return min(max(2 * pause, limits.KERNEL_AGAIN), limits.FACTS_AGAIN)
        if changed or pause:
            text = "facts of this host changed; the policy is adapted"
            self._tell(Notice(Level.NOTICE, "facts-changed", text))
        return 0.0

    def _refused(self, error: KernelError) -> None:
        text = f"facts of this host changed, but the kernel refused the policy for them: {error}"
        remedy = "the policy for the earlier facts is in force; it is tried again"
        self._tell(Notice(Level.ERROR, "facts-not-applied", text, {"reason": str(error)}, remedy))
