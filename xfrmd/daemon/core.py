# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine among the edges: events go in one at a time, effects are carried out in order, timers are kept.

This is the one place where the engine is called. Whatever unexpected comes out of it is told, counted and survived.
"""

from __future__ import annotations

import asyncio
import collections
import traceback
from collections.abc import Callable
from typing import Final

from xfrmd.daemon.ports import Engine
from xfrmd.ike.effects import Effect
from xfrmd.ike.events import Event, TimerFired
from xfrmd.model.notice import Level, Notice

TIMER_SLACK: Final = 0.001
"""Seconds that a timer is set late: a deadline that is a rounding away would be asked for again at once."""
FAULT_PAUSE: Final = 1.0
"""Seconds until the next timer after a fault in the engine: a deadline that is never met must not spin."""


class Faults:
    """Unexpected exceptions: a fault of ours, told with where it came from, counted, and not the daemon's end."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self._tell = tell
        self.count = 0

    def __call__(self, where: str, error: Exception) -> None:
        """Tell of one. The text has the innermost places only: values, which might be keys, stay out."""
        self.count += 1
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        places = " < ".join(f"{frame.filename.rpartition('xfrmd/')[2]}:{frame.lineno}" for frame in reversed(frames))
        self._tell(
            Notice(
                Level.ERROR,
                "internal-error",
                f"unexpected {type(error).__name__} in {where}, at {places}",
                {"where": where, "exception": type(error).__name__, "places": places},
                "please report it with the lines of the journal around it",
            )
        )


class Core:
    """`carry` does what an effect says; `keep` is called before that, when the engine has heard an event; `settled`
    hears that an event and all that followed is over.
    """

    def __init__(
        self,
        engine: Engine,
        carry: Callable[[Effect], Event | None],
        faults: Faults,
        settled: Callable[[], None] = lambda: None,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._carry = carry
        self._faults = faults
        self._settled = settled
        self._keep = keep
        self._events: collections.deque[Event] = collections.deque()
        self._busy = False
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._loop = asyncio.get_running_loop()

    def post(self, event: Event) -> None:
        """Hear an event, and everything that follows from it, before returning (when not inside another)."""
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                self._one(self._events.popleft())
        finally:
            self._busy = False
        self._arm()
        self._settled()

    def _one(self, event: Event) -> None:
        try:
            effects = self._engine.handle(event, self._loop.time())
            self._keep()
        except Exception as error:  # noqa: BLE001 (one event's fault must not end all peers' SAs)
            self._faults(f"engine, {type(event).__name__}", error)
            if isinstance(event, TimerFired):  # its deadline may not have moved; no datagram holds timers up
                self._paused_until = self._loop.time() + FAULT_PAUSE
            return
        for effect in effects:
            try:
                follows = self._carry(effect)
            except Exception as error:  # noqa: BLE001 (the effects behind it still count)
                self._faults(f"effect {type(effect).__name__}", error)
            else:
                if follows is not None:
                    self._events.append(follows)

    def _arm(self) -> None:
        """Set the timer to the engine's next deadline. One that is set for earlier stays: each handshake moves the
        deadline on, and it costs less to be asked once for nothing.
        """
        deadline = self._engine.next_deadline()
        if deadline is not None and self._armed_for is not None and self._armed_for <= deadline:
            return
        self.stop()
        if deadline is not None:
            self._armed_for = deadline
            when = max(deadline, self._loop.time(), self._paused_until) + TIMER_SLACK
            self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self.stop()
        self.post(TimerFired())

    def stop(self) -> None:
        """Fire no more timers."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_for = None
