# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon needs from its surroundings, as protocols: tests put plain values in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from xfrmd.adapters.facts import Origins
from xfrmd.adapters.policy_files import Loaded
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import Refusal, Request
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.adapters.xfrm.uses import Use, Uses
from xfrmd.ike.effects import Effect
from xfrmd.ike.events import Endpoint, Event
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import ElementChange, ElementKey, NftTable, TableChange
from xfrmd.model.plan import Overlay, Plan, PlanDelta
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction
from xfrmd.policy.resolve import SecretReader


class Engine(Protocol):
    """The sans-IO IKE engine."""

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        """Hear an event at monotonic time `now`; what is to be done, in order."""

    def next_deadline(self) -> float | None:
        """When it wants to hear TimerFired at the latest, in the time of `now`."""

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        """Its SAs, for people."""

    def each_ike_sa(self, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
        """The same one by one; it may hear events in between. Those with a peer alone, or the one that has this SPI of
        ours or a child SA of that.
        """

    def own_spi(self, spi: bytes) -> bytes:
        """Our SPI of the SA that has this one at either end; b"" when there is none."""

    def suspect(self, remote: Address, now: float) -> bool:
        """Does nothing come of what this host, or its network, begins?"""

    def totals(self) -> tuple[int, int]:
        """How many IKE SAs and child SAs there are."""

    def counters(self) -> Mapping[str, int]:
        """What it dropped and did, by name."""


class Datagrams(Protocol):
    """IKE's UDP sockets."""

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> str:
        """Send; "" or why not."""

    def keep_alive(self, local: Endpoint, remote: Endpoint) -> str:
        """Keep a NAT's mapping alive; "" or why not."""


class SaDatabase(Protocol):
    """The kernel's SAs. All raise KernelError."""

    def add_sa(self, sa: SadEntry) -> None:
        """Install one direction of a child SA."""

    def update_sa(self, sa: SadEntry) -> None:
        """Give an SA that is there other UDP ports; its keys and counters stay."""

    def remove_sa(self, protocol: ProtocolId, spi: int, dst: Address) -> bool:
        """False: it was gone already."""

    def sa(self, protocol: ProtocolId, spi: int, dst: Address) -> ObservedSa | None:
        """One SA with its counters; None: there is no such."""

    def sas(self) -> Sequence[ObservedSa]:
        """All SAs with their counters, whoever installed them."""

    def sas_apart(self) -> Sequence[ObservedSa]:
        """The same, for a thread beside the one that everything else is called in."""


class SaUses(Protocol):
    """What the kernel's SAs have carried. KernelError."""

    def use(self, protocol: ProtocolId, spi: int, dst: Address) -> Use | None:
        """Of one; None: there is no such."""

    def uses_apart(self) -> Uses:
        """Of all of them, for a thread beside the one that everything else is called in."""


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
    """Makes the kernel equal to a Plan with an overlay. It blocks, and is used by one thread at a time.

    All raise KernelError when the kernel refuses: then it enforces what it did before, or more, never less.
    """

    def apply(self, plan: Plan, overlay: Overlay = ...) -> Outcome:
        """Whatever there was before. Without an overlay, none stays."""

    def change(self, plan: Plan, delta: PlanDelta, overlay: Overlay = ...) -> Outcome:
        """From the plan that was applied last, at the cost of the delta. Without an overlay, none stays."""

    def overlay(self, overlay: Overlay) -> Outcome:
        """The same plan with another overlay, at the cost of what differs."""

    def check(self, plan: Plan) -> Outcome:
        """Observe only. The overlay that was applied with the plan counts in."""

    @property
    def proved(self) -> bool:
        """Was the kernel equal to what was applied when it was looked at last?"""

    def disturbed(self) -> bool:
        """May the kernel be something else than what was applied last?"""

    def shut(self) -> None:
        """Block what nftables alone may have kept from passing, until the next `apply` or `mend` has put it back."""

    def mend(self) -> Outcome:
        """Apply again what was applied last, overlay included, at the cost of what differs."""


class Policies(Protocol):
    """The kernel's SPD."""

    def policies(self) -> tuple[ObservedPolicy, ...]:
        """All policies, whoever wrote them."""

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        """The policy of this direction and selector."""

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        """Carry out at most limits.NETLINK_BULK requests in order; those that were refused."""

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        """Prefix lengths (local, remote) from which on policies are found by hash."""

    def watch(self) -> None:
        """From now on `touched` tells whether others change policies."""

    def look_away(self) -> None:
        """Do not watch during a bulk change."""

    def touched(self) -> bool:
        """Has anybody else changed a policy since `watch`, or may somebody have?"""


class Tables(Protocol):
    """The kernel's nftables, as far as they are ours. All raise KernelError."""

    @property
    def commits(self) -> int:
        """Transactions of ours so far."""

    def generation(self) -> int:
        """A number that grows by one with each transaction of anybody."""

    def observe(self) -> NftTable | None:
        """Our table, None when there is none."""

    def element(self, name: str, key: ElementKey) -> str | None:
        """The verdict of one element of a map."""

    def prepare(self, change: TableChange) -> None:
        """Make and fill the new maps, which nobody asks yet; raises KernelError when `exchange` would."""

    def exchange(self, change: TableChange) -> None:
        """One table in the place of the other, in one transaction."""

    def change(self, changes: Mapping[str, ElementChange], generation: int) -> None:
        """Change elements in one transaction; ChangedElsewhereError when the generation is another."""


class BootStore(Protocol):
    """Files that the next start of the system loads, before the daemon runs. All raise OSError."""

    def had_policy(self) -> bool:
        """Has a policy ever been in force on this host?"""

    def remember_policy(self) -> None:
        """Now one is."""

    def save(self, name: str, text: str) -> None:
        """Replace one of the files, so that it outlives a loss of power at any moment."""

    def load(self, name: str) -> str | None:
        """One of the files; None where there is none."""

    def remove(self, name: str) -> None:
        """Remove one of the files, if it is there."""

    def lifted(self) -> None:
        """Keep this start's boot filter from being loaded again when nftables is reloaded."""


class PolicySource(Protocol):
    """Where the policy of a store is read from."""

    @property
    def first(self) -> str:
        """Its place, for people."""

    def load(self, read_secret: SecretReader) -> Loaded:
        """The policy now, with its secrets. It blocks. Raises PolicyErrors when it has errors, another PolicyError when
        the store cannot be reached.
        """


class FactsSource(Protocol):
    """What is known of this host."""

    def read(self) -> HostFacts:
        """The facts now."""

    def want(self, names: frozenset[str], *, strict: bool) -> None:
        """From now on the facts hold the addresses of these DNS names. `strict`: only as long as they are resolved."""

    async def settled(self) -> None:
        """Wait until each name has an answer or has failed, or has had its time."""

    async def look_up(self, names: frozenset[str], *, strict: bool) -> dict[str, tuple[Address, ...]]:
        """The addresses of DNS names now, apart from those that are wanted."""

    def origins(self) -> Origins:
        """Where the facts that were read last come from."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` from the event loop after anything that may alter the facts."""
