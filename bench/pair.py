# SPDX-License-Identifier: GPL-2.0-or-later
"""Two engines in one process: one stands for thousands of initiators, the other is the host that they connect to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from xfrmd.ike.effects import Effect, InstallSa, SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import DatagramReceived, Event, Initiate
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.nft import NftTable
from xfrmd.model.pad import AuthMethod, MainMode, PadEntry, PskAuth
from xfrmd.model.plan import FilterOrigin, Plan, ProtectPolicy, Weight
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.model.source import Span
from xfrmd.model.spd import Mode
from xfrmd.transforms import catalog

CLIENTS: Final = Prefix.parse("10.0.0.0/8")
SERVER: Final = Address.parse("192.0.2.1")
PSK: Final = PskAuth(Secret(b"a secret for measuring"))
REQID: Final = 0x5846_0001
_AT: Final = Span("bench.yaml", 1, 1)


class Suite(NamedTuple):
    """Transforms of one row of the table, by name; "" where an AEAD needs none. The ESP SA uses the same cipher."""

    encryption: str
    integrity: str
    prf: str
    key_exchange: str
    rules: int = 1
    """Rules of the responder: one for all clients, or as many with one client each."""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        words = "-".join((self.encryption, self.integrity or self.prf, self.key_exchange))
        return words if self.rules == 1 else f"{words}, {self.rules} rules"

    def proposals(self) -> tuple[Proposal, Proposal]:
        """What is offered for the IKE SA and for the child SA."""
        cipher = [catalog.encryption(self.encryption)]
        cipher += [catalog.integrity(self.integrity)] if self.integrity else []
        ike = (*cipher, catalog.prf(self.prf), catalog.key_exchange(self.key_exchange))
        lifetime = Lifetime(28800)
        return (
            Proposal(ProtocolId.IKE, ike, lifetime),
            Proposal(ProtocolId.ESP, (*cipher, Transform(5, 0)), lifetime),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds that handshakes took at each end, and seconds on the clock for both."""

    handshakes: int
    initiator: float
    responder: float
    elapsed: float


def plan(
    local: Prefix, remotes: Sequence[Prefix], suite: Suite, own: Mapping[Prefix, AuthMethod] = MappingProxyType({})
) -> Plan:
    """A rule for each block of remote addresses. `own`: how some of the local addresses prove who they are; all by the
    same secret where it is empty.
    """
    ike, esp = suite.proposals()
    main_mode = MainMode((ike,))
    methods = own or {local: PSK}
    entries = tuple(
        PadEntry(one, remote, "bench", (method,), main_mode, _AT)
        for one, method in methods.items()
        for remote in remotes
    )
    protects = tuple(
        ProtectPolicy(
            reqid=REQID + number,
            selectors=(Selector(local, remote),),
            weight=Weight(local.length + remote.length, 32, local.length, 0, 0, 0, 0),
            proposals=(esp,),
            pfs=False,
            mode=Mode.TRANSPORT,
            origin=FilterOrigin("bench", "bench", "bench", "bench", _AT),
        )
        for number, remote in enumerate(remotes)
    )
    return Plan("bench", (), NftTable((), ()), (), protects, entries)


def _client(number: int) -> Address:
    return Address(4, CLIENTS.value + number)


class Timed:
    """An engine whose CPU time is added up."""

    __slots__ = ("cpu_ns", "engine", "installed")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cpu_ns = 0
        self.installed = 0

    def handle(self, event: Event, now: float) -> list[SendDatagram]:
        """Let the engine handle an event; its datagrams are given back, its SAs are counted."""
        begin = time.process_time_ns()
        effects: list[Effect] = self.engine.handle(event, now)
        self.cpu_ns += time.process_time_ns() - begin
        self.installed += sum(isinstance(effect, InstallSa) for effect in effects)
        return [effect for effect in effects if isinstance(effect, SendDatagram)]


class EnginePair:
    """The two ends, with settings of one suite."""

    __slots__ = ("_done", "initiator", "now", "responder")

    def __init__(self, suite: Suite, entropy: Callable[[int], bytes]) -> None:
        server = Prefix.host(SERVER)
        clients = [CLIENTS] if suite.rules == 1 else [Prefix.host(_client(1 + n)) for n in range(suite.rules)]
        self.initiator = Timed(Engine(plan(CLIENTS, [server], suite), entropy))
        self.responder = Timed(Engine(plan(server, clients, suite), entropy))
        self.now = 0.0
        self._done = 0

    def connect(self) -> None:
        """One handshake from a new client: IKE_SA_INIT, and IKE_AUTH with a child SA pair. RuntimeError if it fails."""
        self._done += 1
        self.now += 0.001
        self.say(Initiate(REQID, _client(self._done), SERVER))
        if any(end.installed != 2 * self._done for end in (self.initiator, self.responder)):
            raise RuntimeError(f"handshake {self._done} did not make an SA pair at both ends")

    def say(self, event: Event) -> None:
        """Tell the initiator of an event, and carry datagrams to and fro as long as there are any."""
        self._converse(self.initiator, self.responder, event)

    def hear(self, event: Event) -> None:
        """The same, beginning with the responder."""
        self._converse(self.responder, self.initiator, event)

    def _converse(self, speaker: Timed, listener: Timed, event: Event) -> None:
        under_way = speaker.handle(event, self.now)
        while under_way:
            speaker, listener = listener, speaker
            under_way = [
                answer
                for sent in under_way
                for answer in speaker.handle(DatagramReceived(sent.remote, sent.local, sent.data), self.now)
            ]

    def measure(self, handshakes: int) -> Cost:
        """Run so many handshakes."""
        before = self.initiator.cpu_ns, self.responder.cpu_ns
        begin = time.perf_counter()
        for _ in range(handshakes):
            self.connect()
        elapsed = time.perf_counter() - begin
        return Cost(
            handshakes,
            (self.initiator.cpu_ns - before[0]) / 1e9,
            (self.responder.cpu_ns - before[1]) / 1e9,
            elapsed,
        )
