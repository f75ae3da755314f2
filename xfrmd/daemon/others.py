# SPDX-License-Identifier: GPL-2.0-or-later
"""Other programs on this host: what they take from the kernel is put back, what they add in our way is told.

The kernel's own news say that somebody has touched our table or an XFRM policy. Then the kernel is compared with the
plan and made equal again (docs/decisions/0024). Who does it again and again is followed at a pace that leaves the
processor to others, and the status says so.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable
from typing import Final, Protocol

from xfrmd import limits
from xfrmd.adapters.nft_events import NftEvents
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.parts import Errands
from xfrmd.daemon.ports import Outcome
from xfrmd.errors import KernelError
from xfrmd.model.notice import Level, Notice

SOMEBODY: Final = "another program"
COMPARISON_QUICK: Final = 0.1
COMPARISON_REST: Final = 20.0
"""A comparison of kernel and plan that takes longer than the first (seconds) is done for a 20th of the time at most."""


class Pace:
    """When to mend next: a fifth of the time at most goes into it, nobody makes us spin, a quiet while starts it anew.

    Pure: times are given.
    """

    def __init__(self) -> None:
        self.not_before = 0.0
        self._pause = limits.MEND_PAUSE[0]
        self._in_vain = 0
        """Times in a row after which the kernel still differed."""

    def mended(self, begun: float, ended: float, *, equal: bool) -> None:
        """It was done. `equal`: the kernel is as it shall be now."""
        first, last = limits.MEND_PAUSE
        quiet = begun - self.not_before > limits.MEND_QUIET
        self._in_vain = 0 if equal else min(self._in_vain + 1, limits.MEND_IN_VAIN)
        self._pause = first if quiet else min(self._pause * 2, last * 2**self._in_vain)
        self.not_before = ended + max(self._pause, (ended - begun) * limits.MEND_SHARE)


class Mender:
    """Mends after each disturbance, one at a time, at a bounded pace. `after` is called when something was put back."""

    def __init__(self, enforcement: Enforcement, tell: Callable[[Notice], None], after: Callable[[], None]) -> None:
        self._enforcement = enforcement
        self._tell = tell
        self._after = after
        self._wanted = self._works = False
        self._pace = Pace()
        self.count = 0
        """How often something was put back."""
        self._times: collections.deque[float] = collections.deque(maxlen=limits.MENDS_TOLD)
        """When something was put back."""
        self._told = float("-inf")
        self._strangers: tuple[str, ...] = ()
        self._failure = ""

    def want(self) -> bool:
        """Mend as soon as the pace allows it. False when `work` is at it; else it must be called."""
        self._wanted = True
        return not self._works

    async def work(self, who: str) -> None:
        """Mend until nothing more is wanted."""
        loop, self._works = asyncio.get_running_loop(), True
        try:
            while self._wanted:
                await asyncio.sleep(self._pace.not_before - loop.time())
                self._wanted, begun = False, loop.time()
                await self._once(who)
                self._pace.mended(begun, loop.time(), equal=self._enforcement.proved)
        finally:
            self._works = False

    async def _once(self, who: str) -> None:
        try:
            outcome = await self._enforcement.mend()
        except KernelError as error:
            self._wanted = True
            self._failed(error)
            return
        self._failure = ""
        self._report(outcome, who, asyncio.get_running_loop().time())
        self._after()

    def _failed(self, error: KernelError) -> None:
        text = f"what {SOMEBODY} took from the kernel cannot be put back: {error}"
        if text != self._failure:
            self._failure = text
            self._tell(Notice(Level.ERROR, "not-mended", text, remedy="see what changes nftables or XFRM on this host"))

    def _report(self, outcome: Outcome, who: str, now: float) -> None:
        if outcome.changes:
            self.count += 1
            self._times.append(now)
            if now - self._told >= limits.MEND_TOLD_EVERY:
                done = ", ".join(f"{count} {name}" for name, count in sorted(outcome.changes.items()))
                text = f"{who} changed what xfrmd has in the kernel; it is put back ({done})"
                remedy = "let it leave table inet xfrmd and the XFRM policies of xfrmd alone"
                self._tell(Notice(Level.WARNING, "kernel-mended", text, {"who": who, "done": done}, remedy))
                self._told = now
        if outcome.degraded and outcome.degraded != self._strangers:
            text = "; ".join(outcome.degraded)
            self._tell(Notice(Level.WARNING, "kernel-differs", text, remedy="see what else uses IPsec on this host"))
        self._strangers = outcome.degraded

    def degraded(self, now: float) -> tuple[str, ...]:
        """A fight that goes on, and what could not be put back."""
        lately = sum(now - when < limits.MEND_TOLD_EVERY for when in self._times)
        found = [self._failure] if self._failure else []
        if lately > 1:
            many = "or more " if lately == limits.MENDS_TOLD else ""
            found.append(
                f"another program keeps changing what xfrmd has in the kernel: put back {lately} {many}times within the"
                f" last {limits.MEND_TOLD_EVERY:.0f} s"
            )
        return tuple(found)


class PolicyNews(Protocol):
    """Tells that an XFRM policy has been changed."""

    def fileno(self) -> int:
        """Of what is readable when there are news."""

    def hear(self) -> bool:
        """Take all news; has anybody else changed a policy, or may somebody have?"""


class TableNews(Protocol):
    """Tells that our table has been changed. All raise KernelError."""

    def open(self) -> None:
        """Begin to listen."""

    def close(self) -> None:
        """Stop listening."""

    def listen(self, wanted: bool) -> None:
        """Hear what happens from now on, or nothing."""


class Others:
    """Listens to the kernel's news in the running event loop, and has the mender work."""

    def __init__(
        self,
        enforcement: Enforcement,
        spd: PolicyNews,
        errands: Errands,
        tell: Callable[[Notice], None],
        after: Callable[[], None],
        *,
        news: Callable[[Callable[[str], None], Callable[[], None]], TableNews] = NftEvents,
    ) -> None:
        """`news` makes what tells of transactions that touch our table, and of such that got lost."""
        self._enforcement = enforcement
        self._spd = spd
        self._errands = errands
        self._mender = Mender(enforcement, tell, after)
        self._nft = news(self._table_touched, lambda: self._table_touched(SOMEBODY))
        self._open = False
        self._compared: tuple[tuple[str, ...], float] = ((), 0.0)

    def open(self) -> None:
        """Begin to listen. KernelError when the kernel does not allow it."""
        self._nft.open()
        self._open = True
        self._hear_policies(True)

    def close(self) -> None:
        """Stop listening."""
        if self._open:
            self._hear_policies(False)
            self._open = False
            self._nft.close()

    def at_work(self, busy: bool) -> None:
        """While a thread of ours changes the kernel nobody listens: it looks at everything itself when it is done."""
        if not self._open:
            return
        self._hear_policies(not busy)
        if busy:
            with contextlib.suppress(KernelError):  # what is heard besides is looked at in vain
                self._nft.listen(False)
        else:
            self._listen()

    def _listen(self) -> None:
        """Hear again, as soon as the kernel has memory for it, and look whether there was something."""
        if self._open and not self._enforcement.busy:
            try:
                self._nft.listen(True)
            except KernelError:
                asyncio.get_running_loop().call_later(limits.KERNEL_AGAIN, self._listen)
            self._touched(SOMEBODY)  # before a thread's last look, which then told of a difference, or since

    @property
    def mended(self) -> int:
        """How often something was put back."""
        return self._mender.count

    def forget(self) -> None:
        """What was compared last is no longer so."""
        self._compared = ((), 0.0)

    def degraded(self) -> tuple[str, ...]:
        """Where kernel and plan differ, and what is to be said of others."""
        return (*self._comparison(), *self._mender.degraded(asyncio.get_running_loop().time()))

    def _comparison(self) -> tuple[str, ...]:
        """Where kernel and plan differ. A comparison that took long serves for a while, so that whoever asks for the
        status every second does not take all the time of a large policy.
        """
        begun = time.monotonic()
        found, until = self._compared
        if begun >= until:
            try:
                found = self._enforcement.check().degraded if self._enforcement.now else ()
            except KernelError as error:
                found = (f"the kernel cannot be compared with the policy: {error}",)
            now = time.monotonic()
            self._compared = found, now + (now - begun) * COMPARISON_REST if now - begun > COMPARISON_QUICK else 0.0
        return found

    def _hear_policies(self, wanted: bool) -> None:
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._spd.fileno(), self._policies)
        else:
            loop.remove_reader(self._spd.fileno())

    def _policies(self) -> None:
        if self._spd.hear():
            self._touched(SOMEBODY)

    def _table_touched(self, who: str) -> None:
        """What only nftables blocks may pass since: it is blocked before anything is looked at."""
        with contextlib.suppress(KernelError):  # then it is as open as it was, until it is mended
            if self._enforcement.disturbed():
                self._enforcement.shut()
        self._touched(who)

    def _touched(self, who: str) -> None:
        try:
            disturbed = self._enforcement.disturbed()
        except KernelError:
            disturbed = True
        if disturbed:
            self.forget()
        if disturbed and self._mender.want():
            self._errands.start("mending", self._mender.work(who))
