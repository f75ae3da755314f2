# SPDX-License-Identifier: GPL-2.0-or-later
"""What two hosts live through while one of them has trouble with its kernel: each exchange, and each kind of SA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.conversations import test_engine_mobike as roaming
from tests.conversations.faulty import FaultyNetwork, Hands
from tests.conversations.lives import HYBRID
from tests.conversations.network import Flow, Host
from tests.conversations.plans import ALL_REQID, DEFAULT_REQID, INTEG, SMB_REQID, Settings, plan, responding
from tests.conversations.scenes import A4, B4, Pair, ping, tcp
from tests.conversations.test_engine_reauthentication import due_in
from tests.conversations.test_engine_resumption import KEY
from tests.conversations.test_engine_tunnels import A_HOST, A_NET, B_HOST, B_NET, tunnel
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, PlanChanged, Rekey, TicketKeys
from xfrmd.ike.views import ChildSaView
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.selector import Selector

PLAIN = Settings()
AH = Settings(esp=((INTEG,),), protocol=ProtocolId.AH)
SOFT = Settings(soft=True)
Change = Callable[[Plan], Plan]
DEAF = 15.0
"""Seconds without the peer's IKE."""
SETTLED = 60.0
"""Seconds after which a soft SA must have ended: its peer's IKE is found by the next repetition, what the kernel has
refused is tried again each second.
"""


def same(made: Plan) -> Plan:
    return made


@dataclass(frozen=True)
class Scenario:
    """Hosts A and B: how they begin, what A or both do then."""

    name: str
    act: Callable[[Play], None]
    settings: Settings = PLAIN
    connected: bool = True
    seconds: float = 5.0
    """That it takes, when nothing fails."""
    seamless: bool = False
    """Does no packet wait when nothing fails?"""
    clear: float = 0.0
    """Seconds after which no packet may pass in the clear."""
    a: Change = same
    b: Change = same
    """What is made of their plans."""
    inner: tuple[Address, Address] | None = None
    """Who speaks, when it is not the hosts themselves."""
    responds: bool = False
    """Has B the default response rule alone?"""
    tickets: bool = False
    adopts: bool = False
    """Do the SAs of before go on?"""
    who: str = "AB"
    """Which of them ask anything of their kernels."""

    def plans(self) -> tuple[Plan, Plan]:
        """Of A and B."""
        b = responding(self.settings) if self.responds else plan(B4, [A4], self.settings)
        return self.a(plan(A4, [B4], self.settings)), self.b(b)


@dataclass
class Talking(Pair):
    """Two hosts whose packets may be those of others, and whose filters may have different numbers."""

    scenario: Scenario

    def ping(self, host: Host) -> Selector:
        ends = self.scenario.inner or (self.a.address, self.b.address)
        return ping(*(ends if host is self.a else ends[::-1]))

    def reqid(self, host: Host) -> int:
        return DEFAULT_REQID if self.scenario.responds and host is self.b else ALL_REQID

    def child(self, host: Host, reqid: int | None = None) -> ChildSaView:
        return super().child(host, self.reqid(host) if reqid is None else reqid)

    def flow(self, host: Host, seconds: float, interval: float = 0.05) -> Flow:
        until = self.network.now + seconds
        return self.network.flow(host, Flow(self.ping(host), self.reqid(host), interval, until))


@dataclass
class Play:
    """One time."""

    scenario: Scenario
    scene: Talking
    network: FaultyNetwork
    flows: list[Flow] = field(default_factory=list)

    def hands(self, who: str) -> Hands:
        return self.network.hands[who]

    def host(self, who: str) -> Host:
        return self.hands(who).host

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + seconds)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        self.network.plan(self.network.now + seconds, action)

    def child(self, who: str) -> bytes:
        return self.scene.child(self.host(who)).spi_in.to_bytes(4)

    def ike(self, who: str) -> bytes:
        return self.host(who).ike_sas()[0].local_spi


def begun(scenario: Scenario) -> Play:
    """The hosts, connected if they are to be."""
    network = FaultyNetwork()
    ours, theirs = scenario.plans()
    a, b = network.join("A", A4, ours), network.join("B", B4, theirs)
    play = Play(scenario, Talking(network, a, b, scenario), network)
    if scenario.tickets:
        network.tell(b, TicketKeys((KEY,)))
    if scenario.connected:
        play.scene.acquire(a, packet=play.scene.ping(a))
        play.run(2.0)
        play.scene.agree()
    return play


def _connect(play: Play) -> None:
    play.scene.acquire(play.scene.a, play.network.now, packet=play.scene.ping(play.scene.a))


def _new_child(play: Play) -> None:
    play.scene.acquire(play.scene.a, play.network.now, SMB_REQID, tcp(A4, B4, 445))


def _rekey_child(play: Play) -> None:
    play.network.tell(play.host("A"), Rekey(play.child("A")))


def _rekey_child_both(play: Play) -> None:
    _rekey_child(play)
    play.network.tell(play.host("B"), Rekey(play.child("B")))


def _delete_child(play: Play) -> None:
    play.network.tell(play.host("A"), Delete(play.child("A")))


def _delete_ike(play: Play) -> None:
    play.network.tell(play.host("A"), Delete(play.ike("A")))


def _nothing(_: Play) -> None:
    """Lifetimes end by themselves."""


def _authenticate_anew(play: Play) -> None:
    due_in(play.host("A"), 0.5)


def _restart(play: Play) -> None:
    play.hands("A").die()


def _restart_forgotten(play: Play) -> None:
    """Nothing is known of the SAs of the run before."""
    play.hands("A").kept.clear()
    _restart(play)


def _restart_responder(play: Play) -> None:
    play.hands("B").die()


def _deaf(play: Play) -> None:
    """A peer whose IKE is not there, and comes."""
    network = play.network
    network.lose = lambda _: True
    play.later(DEAF, lambda: setattr(network, "lose", lambda _: False))
    _connect(play)


def _moves(play: Play) -> None:
    """A has another address; its packets are those of that one at once, those to it a little later."""
    a, b = play.scene.hosts
    ours = play.hands("A").plan
    play.network.tell(a, PlanChanged(replace(ours, protect=(), pad=())))

    def arrive() -> None:
        play.network.move(a, roaming.A2)
        there = roaming.roaming(plan(roaming.A2, [B4], play.scenario.settings))
        play.hands("A").plan = there
        play.network.tell(a, PlanChanged(there))
        _speak(a)

    def _speak(host: Host) -> None:
        flow = play.flows[play.scene.hosts.index(host)]
        flow.packet, flow.asked = play.scene.ping(host), float("-inf")

    play.later(1.0, arrive)
    play.later(2.0, lambda: _speak(b))


def _resume(play: Play) -> None:
    """B has lost everything but the keys of its tickets, and A gives up what it has, but its ticket."""
    a, b = play.host("A"), play.host("B")
    b.engine = Engine(play.hands("B").plan, play.network.entropy())
    b.kernel.sas.clear()
    play.hands("B").ledger.sas.clear()
    play.network.tell(b, TicketKeys((KEY,)))
    assert isinstance(a.engine, Engine)
    tickets = a.engine._ctx.store.tickets
    held = dict(tickets.held)
    assert held
    play.network.lose = lambda _: True
    play.network.tell(a, Delete(None))
    play.network.lose = lambda _: False
    tickets.held.update(held)


TUNNEL = {
    "a": tunnel(A_NET, B_NET, A4, B4),
    "b": tunnel(B_NET, A_NET, B4, A4),
    "inner": (A_HOST, B_HOST),
}
CHILD, IKE = Settings(child_seconds=100), Settings(ike_seconds=100)
SCENARIOS = (
    Scenario("connect", _connect, connected=False),
    Scenario("new child", _new_child, Settings(smb=True), seamless=True),
    Scenario("rekey child", _rekey_child, Settings(pfs=True), seamless=True),
    Scenario("rekey child at both", _rekey_child_both, seamless=True),
    Scenario("delete child", _delete_child),
    Scenario("delete IKE", _delete_ike),
    Scenario("child lifetime", _nothing, CHILD, seconds=110.0, seamless=True),
    Scenario("IKE lifetime", _nothing, IKE, seconds=110.0, seamless=True),
)
MORE = (
    Scenario("restart, adoption", _restart, seamless=True, adopts=True, who="A"),
    Scenario("restart, state lost", _restart_forgotten),
    Scenario(
        "restart of the default response rule", _restart_responder, responds=True, seamless=True, adopts=True, who="B"
    ),
    Scenario("default response rule", _connect, connected=False, responds=True),
    Scenario("default response rule, child lifetime", _nothing, CHILD, seconds=110.0, responds=True, seamless=True),
    Scenario("soft SA, then IKE", _deaf, SOFT, connected=False, seconds=45.0, clear=SETTLED),
    Scenario("MOBIKE move", _moves, a=roaming.roaming, b=roaming.welcoming),
    Scenario("resumption by ticket", _resume, tickets=True),
    Scenario("AH, connect", _connect, AH, connected=False),
    Scenario("AH, rekey child", _rekey_child, AH, seamless=True),
    Scenario("tunnel, connect", _connect, connected=False, **TUNNEL),  # type: ignore[arg-type]
    Scenario("tunnel, rekey child at both", _rekey_child_both, seamless=True, **TUNNEL),  # type: ignore[arg-type]
    Scenario("tunnel, restart", _restart, seamless=True, adopts=True, who="A", **TUNNEL),  # type: ignore[arg-type]
    Scenario("additional key exchange, connect", _connect, HYBRID, connected=False),
    Scenario("additional key exchange, rekey child", _rekey_child, HYBRID, seamless=True),
    Scenario("reauthentication", _authenticate_anew, Settings(auth_seconds=600), seconds=20.0, seamless=True),
)
