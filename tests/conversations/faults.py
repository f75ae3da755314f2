# SPDX-License-Identifier: GPL-2.0-or-later
"""What two hosts do while one of them has trouble with its kernel, and what must hold in the end.

A scenario is lived through once to count the steps between a host and its kernel, then once for each step and each kind
of trouble. `python -m tests.conversations.faults` prints the table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.conversations.faulty import FaultyNetwork, Hands
from tests.conversations.kernel_wire import OF_DUMPS, OF_EVENTS, OF_REQUESTS, Trouble
from tests.conversations.network import Flow, Host
from tests.conversations.plans import SMB_REQID, Settings, plan
from tests.conversations.scenes import A4, B4, Pair, summary, tcp
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Delete, Rekey

QUIET = 60.0
"""Seconds after which everything has been tried again; traffic, that asks for SAs, runs on all the while."""
OUTAGE = 45.0
"""Seconds without a packet at the most: the kernel asks again after 30, a failed negotiation is repeated after 10."""
PLAIN = Settings()
TIMES = (1, 2, 7)
"""How often in a row a step and those after it fail: as much as is made good at once, what is not, and for a while."""


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
    """Does no packet get lost when nothing fails for good?"""


@dataclass
class Play:
    """One time."""

    scenario: Scenario
    scene: Pair
    network: FaultyNetwork
    flows: list[Flow] = field(default_factory=list)

    def hands(self, who: str) -> Hands:
        return self.network.hands[A4 if who == "A" else B4]

    def host(self, who: str) -> Host:
        return self.hands(who).host

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + seconds)

    def child(self, who: str) -> bytes:
        return self.scene.child(self.host(who)).spi_in.to_bytes(4)

    def ike(self, who: str) -> bytes:
        return self.host(who).ike_sas()[0].local_spi


def _play(scenario: Scenario) -> Play:
    network = FaultyNetwork()
    a = network.add("A", A4, Engine(plan(A4, [B4], scenario.settings), network.entropy()))
    b = network.add("B", B4, Engine(plan(B4, [A4], scenario.settings), network.entropy()))
    play = Play(scenario, Pair(network, a, b), network)
    if scenario.connected:
        play.scene.acquire(a)
        play.run(2.0)
        play.scene.agree()
    return play


def _connect(play: Play) -> None:
    play.scene.acquire(play.scene.a, play.network.now)


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


SCENARIOS = (
    Scenario("connect", _connect, connected=False),
    Scenario("new child", _new_child, Settings(smb=True), seamless=True),
    Scenario("rekey child", _rekey_child, Settings(pfs=True), seamless=True),
    Scenario("rekey child at both", _rekey_child_both, seamless=True),
    Scenario("delete child", _delete_child),
    Scenario("delete IKE", _delete_ike),
    Scenario("child lifetime", _nothing, Settings(child_seconds=100), seconds=110.0, seamless=True),
    Scenario("IKE lifetime", _nothing, Settings(ike_seconds=100), seconds=110.0, seamless=True),
)


@dataclass
class Run:
    """A scenario with one trouble."""

    scenario: Scenario
    who: str
    at: int | None
    trouble: Trouble = Trouble.ENOMEM
    times: int = 1
    prepare: Callable[[Hands], None] = lambda _: None
    """For a host that is not as it should be."""
    outage: float = 0.0
    """The longest time without a packet, of those that should pass."""
    names: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        step = "" if self.at is None or self.at >= len(self.names) else self.names[self.at]
        return f"{self.scenario.name}, step {self.at} at {self.who} {step}: {self.trouble.value} ({self.times} times)"

    def live(self) -> Play:
        """Until all must be well again."""
        play = _play(self.scenario)
        steps = play.hands(self.who).steps
        steps.arm(self.at, self.trouble, self.times)
        self.prepare(play.hands(self.who))
        arrivals = Arrivals(play, self.scenario.seconds + QUIET)
        self.scenario.act(play)
        play.run(self.scenario.seconds)
        self.names = list(steps.names)
        play.run(QUIET + 2.0)
        self.outage = arrivals.longest()
        play.flows = arrivals.flows
        return play

    def judge(self) -> Play:
        """Live through it, and demand what must hold. AssertionError names the run."""
        try:
            return self._judge(self.live())
        except Exception as error:
            raise AssertionError(f"{self}: {type(error).__name__} {error}") from error

    def _judge(self, play: Play) -> Play:
        steps = play.hands(self.who).steps
        play.scene.converge()
        for host in play.scene.hosts:
            hands = play.network.hands[host.address]
            assert set(hands.ledger.sas) == set(host.kernel.sas), f"{host.name}:\n{summary(play.scene)}"
            assert not hands.executor._installing.taken
        assert not host.clear
        play.scene.works()
        assert self.outage <= OUTAGE, f"{self.outage:.1f} s without a packet"
        if self.at is not None:
            assert steps.met, "nothing has failed"
        if self.at is not None and self.trouble is not Trouble.MISSED:  # perhaps the peer has seen to it in time
            assert _is_told(play.hands(self.who)), "nobody knows"
        return play


class Arrivals:
    """Traffic both ways, and the longest time in which nothing of it arrived."""

    def __init__(self, play: Play, seconds: float) -> None:
        self._play = play
        self._until = play.network.now + seconds
        self.flows = [play.scene.flow(host, seconds, 0.25) for host in play.scene.hosts]
        self._seen = [(0, play.network.now) for _ in self.flows]
        self._worst = 0.0
        self._look()

    def _look(self) -> None:
        now = self._play.network.now
        for number, flow in enumerate(self.flows):
            before, since = self._seen[number]
            if flow.delivered > before:
                self._worst = max(self._worst, now - since)
                self._seen[number] = flow.delivered, now
        if now < self._until:
            self._play.network.plan(now + 0.25, self._look)

    def longest(self) -> float:
        return max(self._worst, *(self._until - since for _, since in self._seen))


NOTICES = ("sa-refused", "kernel-behind", "filter-refused")
COUNTERS = ("event-overflows", "expiries-untold", "sas-left-over")


def _is_told(hands: Hands) -> bool:
    """Does the operator know, by a notice that names the step or by a counter of what was made good at once?"""
    named = [notice for _, notice in hands.host.notices if notice.code in NOTICES]
    assert all(notice.message and notice.remedy for notice in named)
    return bool(named or hands.xfrm.repeats or any(hands.ledger.counters[name] for name in COUNTERS))


def steps_of(scenario: Scenario, who: str) -> list[str]:
    """The steps between a host and its kernel, when nothing fails."""
    run = Run(scenario, who, None)
    run.judge()
    return run.names


KINDS: Final = {"SaExpired": OF_EVENTS, "Remapped": OF_EVENTS, "DUMPSA": OF_DUMPS}


def runs(scenario: Scenario, who: str, times: tuple[int, ...]) -> Iterator[Run]:
    """One for each step, kind of trouble and number of times."""
    for at, name in enumerate(steps_of(scenario, who)):
        kinds = KINDS.get(name, OF_REQUESTS)
        for trouble in kinds:
            for often in times:
                yield Run(scenario, who, at, trouble, often)


def main() -> None:
    """The table."""
    for scenario in SCENARIOS:
        for who in "AB":
            names = steps_of(scenario, who)
            bad, worst, count = 0, 0.0, 0
            for run in runs(scenario, who, TIMES):
                count += 1
                try:
                    run.judge()
                except AssertionError as error:
                    bad += 1
                    print(str(error)[:1500])
                worst = max(worst, run.outage)
            print(f"| {scenario.name} | {who} | {len(names)} | {count} | {worst:.1f} | {bad} |", flush=True)


if __name__ == "__main__":
    main()
