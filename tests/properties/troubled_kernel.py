# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of SPD and table, in which each step may meet with trouble, and which tells its news."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from tests.conversations.kernel_wire import REFUSALS, Steps, Trouble
from tests.properties.test_reconcile_order import ModelKernel, _after
from xfrmd.adapters.nft_socket import ChangedElsewhereError
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import NoAnswerError, Refusal, Request
from xfrmd.errors import KernelError
from xfrmd.model.nft import ElementChange, NftTable, TableChange
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction

DONE = (Trouble.UNANSWERED, Trouble.OVERRUN)


class TroubledKernel(ModelKernel):
    """It is both `Policies` and `Tables`, and the news of both."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.doubtful = False
        """Has a socket been opened anew, so that its news look like those of others?"""
        self._ready = os.eventfd(0, os.EFD_NONBLOCK)
        self.told: Callable[[str], None] = lambda _: None

    def _step(self, name: str, work: Callable[[], None] = lambda: None) -> None:
        """A step of one request. KernelError."""
        trouble = self.steps.next(name)
        if trouble is None or trouble in DONE:
            work()
        if trouble is None:
            return
        self.doubtful = True
        kind = KernelError if trouble in REFUSALS or trouble is Trouble.UNSENT else NoAnswerError
        raise kind(f"{name} {trouble.value}", REFUSALS.get(trouble, 105))

    # Policies

    def policies(self) -> tuple[ObservedPolicy, ...]:
        self._step("policies")
        return super().policies()

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        self._step("policy")
        return super().policy(direction, selector)

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        """Of a batch, one may be refused; what gets lost loses all of it, or the answer to all of it."""
        refusals: list[Refusal] = []
        lost: Trouble | None = None
        for place, one in enumerate(requests):
            trouble = self.steps.next(one.type.name)
            if trouble in REFUSALS:
                refusals.append(Refusal(place, REFUSALS[trouble], f"{one.type.name} {one.about}: {trouble.value}"))
            elif trouble is None or trouble in DONE:
                refusals += self._one(place, one)
            lost = lost or (trouble if trouble not in REFUSALS else None)
            if lost is not None and lost not in DONE:
                break
        if lost is not None:
            self.doubtful = True
            raise NoAnswerError(f"{requests[0].type.name} {lost.value}", 105)
        return tuple(refusals)

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        self._step("hash thresholds")
        super().hash_thresholds(v4, v6)

    def watch(self) -> None:
        self._step("watch")
        self.doubtful = False

    def look_away(self) -> None:
        self._step("look away")
        self.doubtful = True

    def touched(self) -> bool:
        return self.doubtful

    # Tables

    def generation(self) -> int:
        self._step("generation")
        return super().generation()

    def prepare(self, change: TableChange) -> None:
        assert (change.old is None) == (self.table is None)
        self._step("prepare", self._commits)

    def exchange(self, change: TableChange) -> None:
        self._step("exchange", lambda: self._exchanged(change))

    def _exchanged(self, change: TableChange) -> None:
        """Maps that stay keep what they have, as the kernel has it: those of a plan follow facts at once."""
        self._commits()
        changed = change.elements if change.old is not None else {}
        self.table = _after(self.table or NftTable((), ()), changed, change.new)
        assert self.table == change.new
        self.after_each()

    def change(self, changes: Mapping[str, ElementChange], generation: int) -> None:
        if generation != self.commits:
            raise ChangedElsewhereError("another generation")
        self._step("change", lambda: ModelKernel.change(self, changes, generation))

    def element(self, name: str, key: bytes) -> str | None:
        self._step("element")
        return super().element(name, key)

    def observe(self) -> NftTable | None:
        self._step("observe")
        return super().observe()

    # News

    def fileno(self) -> int:
        return self._ready

    def hear(self) -> bool:
        os.eventfd_read(self._ready)
        return self.doubtful

    def open(self) -> None: ...
    def close(self) -> None: ...
    def listen(self, wanted: bool) -> None:
        self._step("listen" if wanted else "do not listen")

    # Other programs

    def flush_table(self) -> None:
        """Nobody is asked, and the news come."""
        self.table, self.commits = None, self.commits + 1
        self.told("nft (pid 7)")

    def flush_policies(self) -> None:
        self.spd.clear()
        self.doubtful = True
        os.eventfd_write(self._ready, 1)
