# SPDX-License-Identifier: GPL-2.0-or-later
"""Two connected hosts whose datagrams lie still until a test says which of them arrives, is lost or comes late.

What is written in the tests is the story; what must hold in the end of every story is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.conversations.interleavings import QUIET, WISHES, HeldNetwork
from tests.conversations.mortal import Wire
from tests.conversations.network import Host, differences
from tests.conversations.plans import SMB_REQID, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, summary, tcp
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, Event, SaExpired
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.header import parse_header
from xfrmd.ike.v2.message import SealedMessage, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload, SaPayload
from xfrmd.model.proposals import ProtocolId

HIGH: Final = 0xC0
"""First octet of nonces that are not to be the lowest."""


class Entropy:
    """Octets for one engine; a test can say how its next nonces begin, and so which of them is the lowest."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self.lead: int | None = None

    def __call__(self, count: int) -> bytes:
        octets = self._source(count)
        return octets if self.lead is None or count != 32 else bytes([self.lead]) + octets[1:]


def other(who: str) -> str:
    """The peer's name."""
    return "b" if who == "a" else "a"


class Crossing:
    """A, who has begun the IKE SA, and B. `steady`: as nothing is deleted, no packet may be sent that is not opened."""

    def __init__(
        self, *, steady: bool = True, settings: Settings | None = None, theirs: Settings | None = None
    ) -> None:
        ours = settings or Settings()
        self.network = HeldNetwork(steady)
        self.entropy = {name: Entropy(self.network.entropy()) for name in "ab"}
        a = self.network.add("A", A4, Engine(plan(A4, [B4], ours), self.entropy["a"]))
        b = self.network.add("B", B4, Engine(plan(B4, [A4], theirs or ours), self.entropy["b"]))
        self.scene = Pair(self.network, a, b)
        self.scene.acquire(a)
        self.network.run(60.0)
        self.scene.agree()
        self.ike, self.child = self.ikes("a"), self.children("a")
        self.network.hold()

    # What happens

    def wish(self, who: str, name: str, lead: int = HIGH) -> None:
        """An operator's or a lifetime's wish at one host: one of WISHES, "new-child", "soft" or "hard" expiry."""
        host = self.host(who)
        self.entropy[who].lead = lead
        event = self._event(host, name)
        assert event is not None, f"{name} at {who}: there is nothing of that kind"
        self.network.tell(host, event)

    def _event(self, host: Host, name: str) -> Event | None:
        if name == "new-child":
            return Acquire(SMB_REQID, tcp(host.address, self.scene.other(host).address, 445))
        if name in ("soft", "hard"):
            oldest = min((e for e in host.kernel.sas.values() if e.sa.inbound), key=lambda e: e.number)
            return SaExpired(oldest.sa.spi, ProtocolId.ESP, host.address, name == "hard", "its lifetime is over")
        return WISHES[name](host)

    def arrive(self, sender: str, nth: int = 0, lead: int = HIGH) -> None:
        """The oldest datagram on its way from a host arrives; `nth`: others have been overtaken. `lead`: how the nonce
        of the answer begins.
        """
        self.entropy[other(sender)].lead = lead
        self.network._arrive(self._take(sender, nth))

    def lose(self, sender: str, nth: int = 0) -> None:
        """It does not arrive."""
        self._take(sender, nth)

    def wait(self, seconds: float) -> None:
        """Time goes by, and with it retransmissions and other deadlines; nothing arrives."""
        self.network.run(self.network.now + seconds)

    def clear(self, sender: str) -> None:
        """All that a host has on its way is lost."""
        while self._flying(sender):
            self.lose(sender)

    # What is seen

    def host(self, who: str) -> Host:
        """A or B."""
        return self.network.host("ab".index(who))

    def engine(self, who: str) -> Engine:
        """That of a host, to be looked into."""
        engine = self.host(who).engine
        assert isinstance(engine, Engine)
        return engine

    def forget_children(self, who: str) -> None:
        """A host has lost its child SAs, and knows nothing of them."""
        store = self.engine(who)._ctx.store
        for child in store.all_children():
            lineage = store.lineage_of(child)
            assert lineage is not None
            store.leave_child(lineage, child)
            store.forget_child(child)
        self.host(who).kernel.sas.clear()

    def ikes(self, who: str) -> set[bytes]:
        """SPIs at A of the IKE SAs that a host has."""
        return {sa.local_spi if who == "a" else sa.remote_spi for sa in self.host(who).ike_sas()}

    def children(self, who: str) -> set[int]:
        """SPIs at A of the child SAs that a host has."""
        found = (child for sa in self.host(who).ike_sas() for child in sa.children)
        return {child.spi_in if who == "a" else child.spi_out for child in found}

    def flying(self, sender: str) -> int:
        """How many datagrams of a host are on their way."""
        return len(self._flying(sender))

    def read(self, sender: str, nth: int = 0) -> SealedMessage:
        """What a datagram on its way says, by the receiver's keys."""
        data = self._flying(sender)[nth][1].data
        header = parse_header(data)
        sa = self.engine(other(sender))._ctx.store.ike_sa(header.spi_r if header.from_initiator else header.spi_i)
        assert sa is not None
        return sa.agreed_channel.open(parse_clear(data))

    def errors(self, sender: str, nth: int = 0) -> list[NotifyType]:
        """The errors in it."""
        kinds = [NotifyType(one.notify) for one in self.read(sender, nth).every(NotifyPayload)]
        return [kind for kind in kinds if kind.is_error]

    def spi(self, sender: str, nth: int = 0) -> bytes:
        """The SPI that it proposes or takes."""
        proposals = self.read(sender, nth).first(SaPayload)
        assert proposals is not None
        return proposals.proposals[0].spi

    # What must hold

    def rest(self, ike_sas: int = 1, pairs: int = 1) -> None:
        """Everything goes its way, and in the end there are one IKE SA and one child SA pair, by which packets pass."""
        scene, network = self.scene, self.network
        for entropy in self.entropy.values():
            entropy.lead = None
        network.release()
        network.run(network.now + QUIET)
        self._agree(ike_sas, pairs)
        wire = Wire()
        for host in scene.hosts:
            wire.watch(host.sent)

    def gone(self) -> None:
        """Nothing is left, and traffic gets new SAs."""
        network = self.network
        network.release()
        network.run(network.now + QUIET)
        assert not differences(self.scene.hosts), summary(self.scene)
        assert all(not host.kernel.sas for host in self.scene.hosts), summary(self.scene)
        assert not self.ikes("a") | self.ikes("b")
        self.scene.acquire(self.scene.a, network.now)
        network.run(network.now + QUIET)
        self._agree(1, 1)

    def childless(self) -> None:
        """No child SA is left, the IKE SA stands, and traffic gets another."""
        network = self.network
        network.release()
        network.run(network.now + QUIET)
        assert self.children("a") == self.children("b") == set(), summary(self.scene)
        assert self.ikes("a") == self.ike, summary(self.scene)
        self.scene.acquire(self.scene.a, network.now)
        self.rest()

    def _agree(self, ike_sas: int, pairs: int) -> None:
        self.scene.agree(ike_sas)
        for host in self.scene.hosts:
            assert len(host.kernel.sas) == 2 * pairs, f"{pairs} pairs are left:\n{summary(self.scene)}"
            flow = self.scene.flow(host, 0.1)
            self.network.run(self.network.now + 0.2)
            assert (flow.delivered > 0, flow.lost, flow.waiting) == (True, [], 0), summary(self.scene)

    def _flying(self, sender: str) -> list[tuple[tuple[int, int], SendDatagram]]:
        number = "ab".index(sender)
        return [(key, one) for key, one in (self.network.flying or {}).items() if key[0] == number]

    def _take(self, sender: str, nth: int) -> SendDatagram:
        key, datagram = self._flying(sender)[nth]
        assert self.network.flying is not None
        del self.network.flying[key]
        return datagram
