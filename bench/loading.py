# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements of policies that are loaded and changed. Each function is one process, as its peak memory counts."""

from __future__ import annotations

import dataclasses
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

from bench import filters, rulesets
from bench.report import Row, cpu_seconds
from bench.scene import new_namespace
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation, examine
from xfrmd.compiler.check import compile_and_check
from xfrmd.compiler.expand import Generic
from xfrmd.daemon.ports import Outcome
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import InterfaceAddress
from xfrmd.model.plan import PlanDelta
from xfrmd.model.selector import Ports
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import AddressSpec, AddressWord, Config

_SPARE: Final = 172 << 24
"""Addresses that no filter of the policies has begin here."""
_SSH: Final = Ports(22, 22)


def _peak() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _clock(step: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = step()
    return time.perf_counter() - begun, found


def _sound(outcome: Outcome) -> None:
    if outcome.degraded:
        raise RuntimeError("\n".join(outcome.degraded[:3]))


def ours(count: int) -> Row:
    """Read, compile, apply and check a policy of so many permit filters."""
    new_namespace()
    text = filters.policy_text(list(filters.hosts(count)))
    before = _peak()
    reading, (policy, facts) = _clock(lambda: filters.read(text))
    read_peak = _peak()
    cpu = cpu_seconds()
    with collector_paused():
        compiling, made = _clock(lambda: Compilation(policy, facts))
    applying, outcome = _clock(lambda: Reconciler(Spd(), NftLoader()).apply(made.plan))
    cpu, memory = cpu_seconds() - cpu, _peak()
    checking, _ = _clock(lambda: examine(made, Config()))
    _sound(outcome)
    return {
        "read": reading, "compile": compiling, "apply": applying, "load": compiling + applying, "cpu": cpu,
        "check": checking, "total": reading + compiling + applying + checking,
        "mb": memory, "read_mb": read_peak, "start_mb": before,
    }  # fmt: skip


def by_hand(count: int) -> Row:
    """`nft -f` of the smallest equal ruleset."""
    new_namespace()
    with tempfile.NamedTemporaryFile("w", suffix=".nft") as file:
        file.write(rulesets.by_hand(filters.hosts(count)))
        file.flush()
        cpu = cpu_seconds()
        taken, _ = _clock(lambda: subprocess.run(["nft", "-f", file.name], check=True))
    return {
        "load": taken,
        "cpu": cpu_seconds() - cpu,
        "mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


class _Running:
    """A policy in a namespace of its own, with a filter on the DNS servers, ready to be changed."""

    def __init__(self, count: int, here: AddressSpec = AddressWord.ME) -> None:
        """`here`: what all filters but the one on the DNS servers call this host."""
        new_namespace()
        rows = list(filters.hosts(count))
        self.policies, facts, made = filters.generics(rows)
        self.last = made[-1]
        made = [one._replace(filter=dataclasses.replace(one.filter, src=here)) for one in made]
        word = filters.generic(self.last, count, rows[-1])
        word = word._replace(filter=dataclasses.replace(word.filter, dst=AddressWord.DNS_SERVERS))
        self.next = count + 1
        self.facts = dataclasses.replace(facts, dns_servers=(Address(4, _SPARE),))
        with collector_paused():
            self.compiled = Compilation(self.policies, self.facts, generics=[*made, word])
        self.reconciler = Reconciler(Spd(), NftLoader())
        self._loader_is_here = self.reconciler.apply(self.compiled.plan)

    def exchange(self, gone: list[Generic], new: list[Generic]) -> float:
        """Milliseconds until the kernel is proved to have, or not to have, a filter."""
        return self._changed(lambda: self.compiled.change(gone, new), 2)

    def fact(self, number: int) -> float:
        """Milliseconds until the kernel follows a DNS server's new address."""
        facts = dataclasses.replace(self.facts, dns_servers=(Address(4, _SPARE + 1 + number % 2),))
        return self._changed(lambda: self.compiled.refresh(facts), 4)

    def own(self, elements: int) -> tuple[float, float]:
        """Milliseconds until the kernel follows an address of the host that comes, and that goes again, with so many
        elements of filters each.
        """
        before = self.compiled.facts
        (link,) = before.interfaces
        more = dataclasses.replace(link, addresses=(*link.addresses, InterfaceAddress(Address(4, _SPARE - 1), 32)))
        with_it = dataclasses.replace(before, interfaces=(more,))
        with collector_paused():
            came, went = (
                self._changed(lambda facts=facts: self.compiled.refresh(facts), elements)  # type: ignore[misc]
                for facts in (with_it, before)
            )
        return came, went

    def _changed(self, step: Callable[[], PlanDelta | None], elements: int) -> float:
        begun = time.perf_counter()
        delta = step()
        assert delta is not None
        outcome = self.reconciler.change(self.compiled.plan, delta)
        taken = time.perf_counter() - begun
        _sound(outcome)
        if outcome.changes != {"ChangeElements": elements}:
            raise RuntimeError(f"other changes than {elements} elements: {outcome.changes}")
        return taken * 1e3

    def another(self) -> Generic:
        """A filter that is not in the policy."""
        self.next += 1
        row = filters.Row(str(Address(4, _SPARE + self.next)), "tcp", dports=_SSH)
        return filters.generic(self.last, self.next, row)


def changed(few: int, many: int, rounds: int) -> list[Row]:
    """One filter more, one less, one fact that changes, in a small and a large policy by turns."""
    hosts = {count: _Running(count) for count in (few, many)}
    taken: dict[tuple[int, str], list[float]] = {}
    for number in range(rounds):
        for count, host in hosts.items():
            one = host.another()
            for name, value in (
                ("add", host.exchange([], [one])),
                ("remove", host.exchange([one], [])),
                ("fact", host.fact(number)),
            ):
                taken.setdefault((count, name), []).append(value)
    for host in hosts.values():
        _sound(host.reconciler.check(host.compiled.plan))
    for _ in range(max(rounds // 10, 1)):
        for count, host in hosts.items():
            for name, value in zip(("own", "own_gone"), host.own(2 * (count + 1)), strict=True):
                taken.setdefault((count, name), []).append(value)
    literal = (Prefix.host(Address.parse(filters.OWN[4])),)
    hosts = {count: _Running(count, literal) for count in (few, many)}
    for _ in range(max(rounds // 10, 1)):
        for count, host in hosts.items():
            taken.setdefault((count, "own_one"), []).extend(host.own(2))
    return [
        {"what": name, "few": statistics.median(taken[few, name]), "few_most": max(taken[few, name]),
         "many": statistics.median(taken[many, name]), "many_most": max(taken[many, name])}
        for name in ("add", "remove", "fact", "own_one", "own", "own_gone")
    ]  # fmt: skip


def edited(count: int) -> Row:
    """Milliseconds from a policy file with one filter more to the kernel, everything read and compiled anew."""
    new_namespace()
    rows = list(filters.hosts(count))
    reconciler = Reconciler(Spd(), NftLoader())

    def whole(text: str) -> Outcome:
        checked = compile_and_check(*filters.read(text))
        return reconciler.apply(checked.plan)

    policies, facts, made = filters.generics(rows)
    _sound(reconciler.apply(Compilation(policies, facts, generics=made).plan))
    text = filters.policy_text([*rows, filters.Row("172.16.0.1", "tcp", dports=_SSH)])
    taken, outcome = _clock(lambda: whole(text))
    _sound(outcome)
    if outcome.changes != {"ChangeElements": 2}:
        raise RuntimeError(f"other changes than two elements: {outcome.changes}")
    return {"ms": taken * 1e3}
