# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts of which one follows redirects (RFC 5685): its plan is compiled anew when a tunnel ends elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tests.conversations.dialogue import Side
from tests.unit.pki import NOW
from xfrmd.ike.effects import Effect, MoveTunnel, SendDatagram
from xfrmd.ike.events import DatagramReceived, PlanChanged
from xfrmd.model.plan import Plan


class Redirecting(ABC):
    """What is sent arrives at whoever has the address, if anybody has."""

    a: Side

    def __init__(self) -> None:
        self.now = 0.0

    @property
    @abstractmethod
    def sides(self) -> Sequence[Side]:
        """All hosts, A among them."""

    @abstractmethod
    def moved(self, move: MoveTunnel) -> Plan | None:
        """A's plan once a tunnel ends elsewhere; None when nobody compiles it."""

    def wall(self) -> float:
        """Date and time: it is NOW of the tests' certificates at 0.0."""
        return NOW.timestamp() + self.now

    def say(self, effects: list[Effect]) -> list[Effect]:
        """Deliver all that is sent, and have A follow where its tunnels end. All effects, those given first."""
        everything: list[Effect] = []
        waiting = list(effects)
        while waiting:
            one = waiting.pop(0)
            everything.append(one)
            if isinstance(one, MoveTunnel):
                plan = self.moved(one)
                if plan is not None:
                    waiting += self.a.hear(PlanChanged(plan), self.now)
            elif isinstance(one, SendDatagram):
                side = next((side for side in self.sides if side.own == one.remote.address), None)
                if side is not None:
                    waiting += side.hear(DatagramReceived(one.remote, one.local, one.data), self.now)
        return everything
