# SPDX-License-Identifier: GPL-2.0-or-later
"""Files whose changes are told: the kernel wakes us for them, and now and then they are looked at all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.inotify import FileNews


class WatchedFiles:
    """`look` gives what is another when any of the files is; `changed` is called when it is, or a deadline is over."""

    def __init__(
        self,
        paths: tuple[Path, ...],
        look: Callable[[], object],
        changed: Callable[[], None],
        news: Callable[[Callable[[], None]], FileNews] = FileNews,
    ) -> None:
        self._paths = paths
        self._look = look
        self._changed = changed
        self._seen = look()
        self._ends = float("inf")
        self._news = news(self._soon)
        self._opened = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")

    def start(self) -> None:
        """Watch; what has changed since the last look is told."""
        self._opened = self._news.open()
        self._look_again()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._news.close()

    def ends(self, when: float) -> None:
        """`changed` is called at wall-clock time `when`, too."""
        self._ends = when
        if self._timer is not None:
            self._in(max(when - time.time(), 0.0))

    def _soon(self) -> None:
        """Look in a moment: who writes a file does it in several steps."""
        self._in(limits.FACTS_SETTLE)

    def _in(self, seconds: float) -> None:
        """Look so late at the latest."""
        loop = asyncio.get_running_loop()
        if self._timer is None or loop.time() + seconds < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = loop.time() + seconds
            self._timer = loop.call_at(self._due, self._look_again)

    def _look_again(self) -> None:
        # Watched first: what changes after that look is told.
        watched = self._opened and self._news.watch(self._paths)
        before, self._seen, ended = self._seen, self._look(), time.time() >= self._ends
        self._timer = None
        self._in(limits.FACTS_RECHECK if watched else limits.FACTS_INTERVAL)
        if ended or self._seen != before:
            self._ends = float("inf")
            self._changed()
        else:
            self._in(max(self._ends - time.time(), 0.0))
