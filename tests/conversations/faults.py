# SPDX-License-Identifier: GPL-2.0-or-later
"""What two hosts do while one of them has trouble with its kernel, and what must hold in the end.

A scenario is lived through once to count the steps between a host and its kernel, then once for each step and each kind
of trouble. `python -m tests.conversations.faults` prints the table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.conversations.fault_plays import MORE, SCENARIOS, Play, Scenario, begun
from tests.conversations.faulty import Hands
from tests.conversations.kernel_wire import OF_DUMPS, OF_EVENTS, OF_REQUESTS, Trouble
from tests.conversations.scenes import summary

QUIET = 60.0
"""Seconds after which everything has been tried again; traffic, that asks for SAs, runs on all the while."""
OUTAGE = 45.0
"""Seconds without a packet at the most: the kernel asks again after 30, a failed negotiation is repeated after 10."""
NO_OUTAGE = 1.0
"""When nothing fails and nothing has to wait: a look at what has arrived takes place four times a second."""
TIMES = (1, 2, 7)
"""How often in a row a step and those after it fail: as much as is made good at once, what is not, and for a while."""


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
    begun: float = 0.0

    def __str__(self) -> str:
        step = "" if self.at is None or self.at >= len(self.names) else self.names[self.at]
        return f"{self.scenario.name}, step {self.at} at {self.who} {step}: {self.trouble.value} ({self.times} times)"

    def live(self) -> Play:
        """Until all must be well again."""
        play = begun(self.scenario)
        steps = play.hands(self.who).steps
        steps.arm(self.at, self.trouble, self.times)
        self.prepare(play.hands(self.who))
        arrivals = Arrivals(play, self.scenario.seconds + QUIET)
        play.flows = arrivals.flows
        self.begun = play.network.now
        self.scenario.act(play)
        play.run(self.scenario.seconds)
        self.names = list(steps.names)
        play.run(QUIET + 2.0)
        self.outage = arrivals.longest()
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
            hands = play.network.hands[host.name]
            assert set(hands.ledger.sas) == set(host.kernel.sas), f"{host.name}:\n{summary(play.scene)}"
            assert not hands.executor._installing.taken
            assert not host.clear
        for flow in play.flows:
            assert all(at - self.begun < self.scenario.clear for at in flow.clear), f"clear: {flow.clear[-5:]}"
        if self.scenario.responds:
            assert [reqid for reqid, _ in play.host("B").filters] == [play.scene.reqid(play.host("B"))]
        play.scene.works()
        if self.scenario.adopts:
            assert play.hands(self.who).ledger.counters["sas-kept"] == 2, "the SAs of before are gone"
        outage = NO_OUTAGE if self.at is None and self.scenario.seamless else OUTAGE
        assert self.outage <= outage, f"{self.outage:.1f} s without a packet"
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


NOTICES = ("sa-refused", "kernel-behind", "filter-refused", "not-started")
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
    for scenario in (*SCENARIOS, *MORE):
        for who in scenario.who:
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
