# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurement of how fast XFRM policies are installed, beside `ip -batch`. One process."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial

from bench import filters
from bench.report import Row, alternated, cpu_seconds, over, tell
from bench.scene import new_namespace
from xfrmd import limits
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm import sockets
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector
from xfrmd.model.spd import SpdAction, SpdEntry

_PROTOCOLS = {6: "tcp", 17: "udp"}


def _selector(selector: Selector) -> str:
    words = f"src {selector.src} dst {selector.dst}"
    if selector.protocol:
        words += f" proto {_PROTOCOLS[selector.protocol]}"
    if not selector.sport.is_any:
        words += f" sport {selector.sport.first}"
    return words if selector.dport.is_any else f"{words} dport {selector.dport.first}"


def line(entry: SpdEntry) -> str:
    """An SPD entry that protects, in the words of `ip xfrm`. Its ports are single ones or any."""
    words = f"xfrm policy add {_selector(entry.selector)} dir {entry.direction.name.lower()} priority {entry.priority}"
    return f"{words} tmpl proto esp mode {entry.mode.name.lower()} reqid {entry.reqid}"


def by_ip(plan: Plan) -> Callable[[], object]:
    """The peer: all policies by one `ip -batch`, from a file."""
    file = tempfile.NamedTemporaryFile("w", suffix=".batch")  # noqa: SIM115 (lives as long as what reads it)
    file.writelines(f"{line(entry)}\n" for entry in plan.spd)
    file.flush()
    return lambda: subprocess.run(["ip", "-batch", file.name], check=True)


def by_netlink(plan: Plan) -> Callable[[], object]:
    """Our requests alone, encoded and sent as the reconciler sends them."""

    def install() -> None:
        spd, entries = Spd(), plan.spd
        for at in range(0, len(entries), limits.NETLINK_BULK):
            refused = spd.submit([sockets.add_policy(entry) for entry in entries[at : at + limits.NETLINK_BULK]])
            if refused:
                raise RuntimeError(refused[0].message)

    return install


def by_reconciler(plan: Plan) -> Callable[[], object]:
    """The whole: look, find what differs, install, look again and prove."""

    def apply() -> None:
        outcome = Reconciler(Spd(), NftLoader()).apply(plan)
        if outcome.degraded:
            raise RuntimeError("\n".join(outcome.degraded[:3]))

    return apply


def installed(count: int, rounds: int) -> list[Row]:
    """Policies of so many negotiate filters between single hosts, installed in three ways by turns.

    Each time in an empty namespace, and nothing but these policies, so that the three do the same.
    """
    policy, facts, made = filters.generics(list(filters.hosts(count)), "negotiate")
    whole = Compilation(policy, facts, generics=made).plan
    entries = tuple(entry for entry in whole.spd if entry.action is SpdAction.PROTECT)
    plan = dataclasses.replace(whole, nft=NO_PLAN.nft, spd=entries)
    ways = {"ip -batch": by_ip(plan), "our requests": by_netlink(plan), "apply, with proof": by_reconciler(plan)}

    def once(way: Callable[[], object]) -> Row:
        new_namespace()
        begun, cpu = time.perf_counter(), cpu_seconds()
        way()
        taken, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
        there = len(Spd().policies())
        if there != len(plan.spd):
            raise RuntimeError(f"{there} policies in the place of {len(plan.spd)}")
        rates = {"per_second": there / taken, "cpu_per_second": there / max(cpu, 0.01)}  # it is told in hundredths
        return {"seconds": taken, "cpu": cpu, "policies": there, **rates}

    found = alternated({name: partial(once, way) for name, way in ways.items()}, rounds, tell)
    peer = found["ip -batch"]
    return [
        {"way": name, **row, "ratio": over(peer, row, "seconds"), "cpu_ratio": over(peer, row, "cpu")}
        for name, row in found.items()
    ]
