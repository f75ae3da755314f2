# SPDX-License-Identifier: GPL-2.0-or-later
"""Engines as targets of guided fuzzing: what comes with a ticket, and what is said of addresses and gateways under
right keys. An input is a few octets that say what comes how, and a chain of payloads.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from tests.conversations import plans
from tests.conversations.network import Host
from tests.conversations.scenes import A4, B4, Pair, pair
from tests.conversations.test_engine_mobike import ANYWHERE, roaming, welcoming
from tests.conversations.test_engine_redirect import C4
from tests.conversations.test_engine_tunnels import tunnel
from tests.fuzz.mutate import SEED, join, split
from tests.fuzz.test_fuzz_engine import resuming
from tests.fuzz.test_fuzz_inside import Insider
from xfrmd.ike.effects import Effect, InstallSa, MoveTunnel, RemoveSa
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import DatagramReceived, Endpoint
from xfrmd.ike.ike_sa import IkeState
from xfrmd.ike.session import Session
from xfrmd.ike.tickets import NAME, Tickets, _cipher
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import parse_clear
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plain import writer
from xfrmd.model.plan import Plan
from xfrmd.model.secret import Secret

RENEWED = 64
"""After so many inputs the scene is set anew."""
NOTIFY, TICKET_OPAQUE = 41, NotifyType.TICKET_OPAQUE
ALL = Prefix.any(4)
KEY = Secret(bytes(32))


def _said(words: bytes) -> tuple[int, bytes]:
    """First payload and chain of an input."""
    return (words[0], words[1:]) if words else (0, b"")


class Ticket:
    """What a ticket holds: under a key of ours, and as anybody may show it."""

    def __init__(self) -> None:
        self.tickets = Tickets()
        self.tickets.know((KEY,))

    @staticmethod
    def of(content: bytes) -> bytes:
        """A ticket with this content, as only we can make one."""
        name = bytes(NAME)
        cipher = _cipher(KEY, name)
        return name + cipher.seal(bytes(cipher.iv_len), zlib.compress(content), b"xfrmd session ticket 1")

    def check(self, data: bytes) -> None:
        """Nothing is opened but what was sealed, and what is sealed is a session or none."""
        assert self.tickets.open(data) is None
        found = self.tickets.open(self.of(data))
        assert found is None or writer(Session)(found)


class Resume:
    """IKE_SESSION_RESUME at a host that has given a ticket, and that is asked by who has it."""

    def __init__(self) -> None:
        self.count = 0
        self.scene = resuming(0)
        self.ticket = self._shown()

    def _shown(self) -> bytes:
        said = [one.data for one in self.scene.a.sent if one.data[18] == 38]
        found = parse_clear(said[-1]).notify(TICKET_OPAQUE)
        assert found is not None
        return found.data

    def check(self, data: bytes) -> None:
        """What is in the clear makes no SA and removes none."""
        self.count += 1
        if self.count % RENEWED == 0:
            self.scene = resuming(0)
            self.ticket = self._shown()
        responds = bool(data and data[0] & 1)
        kind, chain = _said(data[1:])
        parts = [
            (one, flags, body[:4] + self.ticket if one == NOTIFY and body[2:5] == b"\x40\x1dT" else body)
            for one, flags, body in split(chain, kind)
        ]
        kind, chain = join(parts)
        host = self.scene.a if responds else self.scene.b
        view = self.scene.a.ike_sas()[0] if self.scene.a.ike_sas() else None
        spis = (view.local_spi if view is not None else b"i" * 8) + (b"r" * 8 if responds else bytes(8))
        spis = spis if responds else self.count.to_bytes(8) + bytes(8)
        head = spis + bytes((kind, 0x20, 38, 0x20 if responds else 8)) + bytes(4) + (28 + len(chain)).to_bytes(4)
        effects = _hear(self.scene, host, head + chain, self.scene.other(host).address, 500)
        assert not [one for one in effects if isinstance(one, InstallSa | RemoveSa)]


def _hear(scene: Pair, host: Host, data: bytes, source: Address, port: int) -> list[Effect]:
    event = DatagramReceived(Endpoint(host.address, 500 if port == 500 else 4500), Endpoint(source, port), data)
    return host.engine.handle(event, scene.network.now)


def changed(a: Callable[[Plan], Plan], b: Callable[[Plan], Plan]) -> Pair:
    """Two hosts with plans of their own, connected."""
    scene = pair(seed=SEED)
    for host, peer, change in ((scene.a, B4, a), (scene.b, A4, b)):
        host.engine = Engine(change(plans.plan(host.address, [peer])), scene.network.entropy())
    scene.connect()
    return scene


class Under(ABC):
    """Under right keys. The first octet is where it comes from and the way of the message."""

    victim: ClassVar[int]

    def __init__(self) -> None:
        self.count = 0
        self.insider = Insider(self.scene, self.victim)

    @abstractmethod
    def scene(self) -> Pair:
        """Two hosts that are connected."""

    def check(self, data: bytes) -> None:
        """Answers are good messages, and what is done is allowed."""
        self.count += 1
        if self.insider.spent or self.count % RENEWED == 0:
            self.insider = Insider(self.scene, self.victim)
        one, how = self.insider, data[0] if data else 0
        kind, chain = _said(data[1:])
        content = one.seal(37, kind, chain, response=bool(how & 8) and one.sa.window.busy)
        sources = (one.scene.other(one.host).address, Address.parse("10.0.9.9"), Address.parse("192.0.2.7"))
        source, port = sources[how % 4 % 3], 4500 if how & 16 else 500
        effects = _hear(one.scene, one.host, content, source, port)
        one.judge(effects)
        self.allowed(effects)

    @abstractmethod
    def allowed(self, effects: list[Effect]) -> None:
        """What must hold after each of them."""


class Moving(Under):
    """MOBIKE (RFC 4555): a peer that may be anywhere in a network."""

    victim = 1

    def scene(self) -> Pair:
        """A roams, and B has it anywhere."""
        return changed(roaming, welcoming)

    def allowed(self, effects: list[Effect]) -> None:
        """No IKE SA is where the policy has no peer."""
        del effects
        for sa in self.insider.host.engine._ctx.store.ike_sas():  # type: ignore[attr-defined] # the engine
            assert sa.state is not IkeState.ESTABLISHED or ANYWHERE.contains(sa.remote.address)


class Redirected(Under):
    """Redirects (RFC 5685) of a gateway that has proved itself."""

    victim = 0

    def scene(self) -> Pair:
        """A's rule names B as the end of its tunnel, and C as another gateway."""

        def client(plan: Plan) -> Plan:
            made = tunnel(ALL, ALL, A4, B4)(plan)
            return replace(made, pad=tuple(replace(one, redirects=(C4,)) for one in made.pad))

        return changed(client, tunnel(ALL, ALL, B4, A4))

    def allowed(self, effects: list[Effect]) -> None:
        """A tunnel only moves to where the policy lets it."""
        for one in effects:
            assert not isinstance(one, MoveTunnel) or (one.end == B4 and one.gateway in (B4, C4))
