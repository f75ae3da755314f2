# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon needs from its surroundings, as protocols: tests put plain values in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.ike.effects import Effect
from xfrmd.ike.events import Endpoint, Event
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector


class Engine(Protocol):
    """The sans-IO IKE engine."""

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        """Hear an event at monotonic time `now`; what is to be done, in order."""

    def next_deadline(self) -> float | None:
        """When it wants to hear TimerFired at the latest, in the time of `now`."""

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        """Its SAs, for people."""

    def counters(self) -> Mapping[str, int]:
        """What it dropped and did, by name."""


class Datagrams(Protocol):
    """IKE's UDP sockets."""

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> str:
        """Send; "" or why not."""


class SaDatabase(Protocol):
    """The kernel's SAs. All raise KernelError."""

    def add_sa(self, sa: SadEntry) -> None:
        """Install one direction of a child SA."""

    def remove_sa(self, protocol: ProtocolId, spi: int, dst: Address) -> bool:
        """False: it was gone already."""

    def sas(self) -> Sequence[ObservedSa]:
        """All SAs with their counters, whoever installed them."""


class HoldQueue(Protocol):
    """Packets that wait for their SA."""

    def release(self, reqid: int, selector: Selector) -> None:
        """An outbound SA for these packets is in the kernel: let them go."""

    def drop(self, reqid: int, selector: Selector) -> None:
        """There will be no SA: drop them."""


class Outcome(NamedTuple):
    """How equal the kernel is to the Plan after applying. `degraded`: what differs and why, () when equal."""

    degraded: tuple[str, ...]
    changes: Mapping[str, int]


class Enforcer(Protocol):
    """Makes the kernel equal to a Plan."""

    def apply(self, plan: Plan) -> Outcome:
        """Raises KernelError when the kernel refuses: then it enforces what it did before, or more, never less."""

    def check(self, plan: Plan) -> Outcome:
        """Observe only."""


class FactsSource(Protocol):
    """What is known of this host."""

    def read(self) -> HostFacts:
        """The facts now."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from the event loop after anything that may alter the facts."""
