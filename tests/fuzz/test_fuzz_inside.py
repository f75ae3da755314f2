# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken contents under right keys: a peer that has the keys of an IKE SA, with or without having proved who it is.

No exception escapes, the kernel is asked for nothing that it would refuse, every answer is a good message; and a peer
that has not proved its identity changes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conversations.network import Host
from tests.conversations.scenes import Pair
from tests.fuzz.mutate import COUNT, SEED, Mutator, corpus
from tests.fuzz.test_fuzz_engine import connected, receive, stopped_after
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.effects import DropHeld, Effect, InstallSa, RemoveSa, SendDatagram, Tell
from xfrmd.ike.events import Rekey, TimerFired
from xfrmd.ike.ike_sa import IkeSa, IkeState
from xfrmd.ike.v2.channel import Channel
from xfrmd.ike.v2.constants import FLAG_INITIATOR, FLAG_RESPONSE, VERSION, NotifyType
from xfrmd.ike.v2.header import HEADER, Header
from xfrmd.ike.v2.message import Cipher, build_clear, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import (
    DeletePayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    WireProposal,
)
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Prefix
from xfrmd.model.proposals import Transform
from xfrmd.wire.writer import Writer

ESP = (Transform(1, 20, 128), Transform(5, 0))
IKE = (Transform(1, 20, 128), Transform(2, 5), Transform(4, 31))


def ike_sa(host: Host) -> IkeSa:
    """The engine's own IKE SA: only its keys let the test speak as the peer."""
    found: IkeSa = host.engine._ctx.store.ike_sas()[0]  # type: ignore[attr-defined] # the engine, not any Negotiator
    return found


class Insider:
    """Whoever shares the keys of a host's IKE SA, and the next words between the two."""

    def __init__(self, make: Callable[[], Pair], victim: int) -> None:
        self.scene = make()
        self.host = self.scene.hosts[victim]
        self.sa = ike_sa(self.host)
        self._to_host, self._from_host = self._ciphers(self.sa, ike_sa(self.scene.other(self.host)))
        self.next_id = 1 if self.sa.state is not IkeState.ESTABLISHED else 0 if self.sa.initiator else 2

    @staticmethod
    def _ciphers(ours: IkeSa, theirs: IkeSa) -> tuple[Cipher, Cipher]:
        """For messages to the host and from it; before IKE_AUTH a responder has not computed its keys yet."""
        channel: Channel | None = ours.channel
        if channel is not None:
            return channel._in, channel._out
        assert theirs.channel is not None
        return theirs.channel._out, theirs.channel._in

    def words(self, *, response: bool) -> list[bytes]:
        """Good requests and responses, in the clear, to be broken. Those that fit the moment are the most."""
        outbound = self.host.kernel.live(inbound=False)
        spi_out = outbound[0].spi.to_bytes(4) if outbound else b"\xc0\xff\xee\x01"
        initiator = self.host if response else self.scene.other(self.host)
        addresses = (initiator.address, self.scene.other(initiator).address)
        ends = tuple(TrafficSelector.of(Prefix.host(address)) for address in addresses)
        child: list[Payload] = [
            NotifyPayload(16391),
            SaPayload((WireProposal.of(1, 3, b"\xc0\xff\xee\x02", ESP),)),
            NoncePayload(bytes(range(32))),
            TsiPayload(ends[:1]),
            TsrPayload(ends[1:]),
        ]
        chains: list[list[Payload]] = [
            child,
            [NotifyPayload(16393, b"", 3, spi_out), *child],
            [SaPayload((WireProposal.of(1, 1, b"\x33" * 8, IKE),)), child[2], KePayload(31, b"\x09" * 32)],
            [DeletePayload(3, (spi_out,))],
            [NotifyPayload(11, spi_out)],
            [
                NotifyPayload(NotifyType.TICKET_REQUEST),
                NotifyPayload(NotifyType.TICKET_LT_OPAQUE, bytes(3) + b"\xffticket"),
            ],
            [
                NotifyPayload(NotifyType.REDIRECT, b"\1\4\x0a\0\0\3"),
                NotifyPayload(NotifyType.REDIRECTED_FROM, b"\1\4\x0a\0\0\3"),
            ],
            [],
        ]
        header = Header.of(b"i" * 8, b"r" * 8, 37, 0, initiator=True, response=False)
        inside = [data for name, data in corpus().items() if name.startswith(("inside_", "all_kinds"))]
        return [*inside, *(build_clear(header, chain) for chain in chains * 4)]

    def seal(self, exchange: int, kind: int, chain: bytes, *, response: bool) -> bytes:
        """A datagram with right keys, header and message ID, and whatever content."""
        sa, cipher = self.sa, self._to_host
        message_id = sa.window.next_id - 1 if response else self.next_id
        flags = (0 if sa.initiator else FLAG_INITIATOR) | (FLAG_RESPONSE if response else 0)
        content = chain + b"\0"
        size = HEADER.size + 4 + cipher.iv_len + len(content) + cipher.icv_len
        writer = Writer()
        HEADER.write(writer, Header(sa.spi_i, sa.spi_r, 46, VERSION, exchange, flags, message_id, size))
        writer.put(bytes((kind, 0)) + (size - HEADER.size & 0xFFFF).to_bytes(2))
        iv = message_id.to_bytes(cipher.iv_len)
        return writer.octets() + iv + cipher.seal(iv, content, writer.octets())

    def judge(self, effects: list[Effect]) -> None:
        """Carry out what the engine wants, and demand that its answers are good messages."""
        for effect in effects:
            match effect:
                case SendDatagram(data=data):
                    clear = parse_clear(data)
                    header = clear.header
                    if (header.spi_i, header.spi_r) != (self.sa.spi_i, self.sa.spi_r):
                        continue
                    open_sealed(clear, self._from_host)
                    if header.is_response and header.message_id == self.next_id:
                        self.next_id += 1
                case InstallSa(sa=sa):
                    self.host.kernel.install(sa, self.scene.network.now)
                case RemoveSa():
                    self.host.kernel.remove(effect)
        assert not self.host.kernel.mistakes

    @property
    def spent(self) -> bool:
        """Is there nothing left to attack?"""
        return self.sa.state is not IkeState.ESTABLISHED and self.sa.state not in (
            IkeState.HALF_OPEN,
            IkeState.AUTHENTICATING,
        )


def run(
    name: str, make: Callable[[], Pair], victim: int, *, response: bool, exchanges: tuple[int, ...]
) -> list[Effect]:
    """Attack with COUNT / 1000 contents, but enough for every exchange to come by; all effects."""
    insider = Insider(make, victim)
    mutator = Mutator(insider.words(response=response), SEED)
    seen: list[Effect] = []
    for number in range(max(COUNT // 1000, 50)):
        if insider.spent or number % 200 == 199:
            insider = Insider(make, victim)
        if response and insider.sa.state is IkeState.ESTABLISHED and not insider.sa.window.busy:
            _ask(insider)
        kind, chain = mutator.chain()
        data = insider.seal(exchanges[number % len(exchanges)], kind, chain, response=response)
        try:
            effects = receive(insider.scene, insider.host, data)
            insider.judge(effects)
        except Exception as error:  # noqa: BLE001 (the test says which content it was)
            pytest.fail(f"{name}, seed {SEED}, content {number}: {error!r}\n{kind}: {chain.hex()}")
        seen += effects
    return seen


def _ask(insider: Insider) -> None:
    """Have the host send a request: a rekey of whichever it has."""
    host, scene = insider.host, insider.scene
    view = host.ike_sas()[0]
    spis = [child.spi_in.to_bytes(4) for child in view.children] + [view.local_spi]
    insider.judge(host.engine.handle(Rekey(spis[insider.next_id % len(spis)]), scene.network.now))
    if not insider.sa.window.busy:
        scene.network.now += 5.0
        insider.judge(host.engine.handle(TimerFired(), scene.network.now))


UNPROVEN = [
    ("half-open", lambda: stopped_after(2), 1, False),
    ("authenticating", lambda: stopped_after(2), 0, True),
]


@pytest.mark.parametrize(("name", "make", "victim", "response"), UNPROVEN, ids=[row[0] for row in UNPROVEN])
def test_keys_without_an_identity_change_nothing(
    name: str, make: Callable[[], Pair], victim: int, response: bool
) -> None:
    effects = run(name, make, victim, response=response, exchanges=(35, 35, 35, 36, 37))
    assert {type(effect) for effect in effects} <= {SendDatagram, Tell, DropHeld}
    assert any(isinstance(effect, Tell) for effect in effects)


PROVEN = [("requests", 1, False), ("requests back", 0, False), ("responses", 0, True), ("responses back", 1, True)]


# rfc 7296: survives-anything
@pytest.mark.parametrize(("name", "victim", "response"), PROVEN, ids=[row[0] for row in PROVEN])
def test_a_proven_peer_that_talks_nonsense_does_no_harm(name: str, victim: int, response: bool) -> None:
    effects = run(name, connected, victim, response=response, exchanges=(36, 36, 37, 35))
    assert any(isinstance(effect, SendDatagram) for effect in effects)


def test_the_insider_is_understood() -> None:
    """Positive control: what the insider seals unbroken is answered like any request."""
    insider = Insider(connected, 1)
    effects = receive(insider.scene, insider.host, insider.seal(37, 0, b"", response=False))
    insider.judge(effects)
    assert insider.next_id == 3
    with pytest.raises(RemoteProtocolError):
        open_sealed(parse_clear(insider.seal(37, 0, b"", response=False)), insider._from_host)
