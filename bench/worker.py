# SPDX-License-Identifier: GPL-2.0-or-later
"""One measurement in a process and a network namespace of its own: `unshare -n python -m bench.worker NAME ARGS`.

Prints a line of JSON. A process of its own, as its peak memory is part of what is measured.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from bench import policies
from xfrmd.compiler import Compilation, examine
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.words import Config, PolicySet

Row = dict[str, float]


def peak() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _loaded(text: str) -> tuple[PolicySet, HostFacts]:
    return load(text, "bench.yaml", lambda _: b"a secret of the bench"), load_facts(policies.FACTS, "facts.yaml")


def _clock(step: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = step()
    return time.perf_counter() - begun, found


def _bring_up(*commands: str) -> None:
    for command in ("ip link set lo up", *commands):
        subprocess.run(command.split(), check=True)


def compiled(count: int) -> Row:
    """Load, check, compile and apply a policy of so many permit filters."""
    from xfrmd.adapters.nft import NftLoader  # noqa: PLC0415 (opens in this namespace)
    from xfrmd.adapters.xfrm.spd import Spd  # noqa: PLC0415
    from xfrmd.daemon.reconcile import Reconciler  # noqa: PLC0415

    text = policies.many(count)
    reading, (policy, facts) = _clock(lambda: _loaded(text))
    read_peak = peak()
    compiling, made = _clock(lambda: Compilation(policy, facts))
    applying, outcome = _clock(lambda: Reconciler(Spd(), NftLoader()).apply(made.plan))
    memory = peak()
    checking, _ = _clock(lambda: examine(made, Config()))
    assert not outcome.degraded, outcome.degraded[:3]
    return {
        "read": reading, "read_mb": read_peak, "compile": compiling, "apply": applying,
        "check": checking, "mb": memory,
    }  # fmt: skip


def changed(count: int, rounds: int) -> Row:
    """Milliseconds from one filter more, or less, in a policy of so many to a kernel that is proved equal again."""
    from xfrmd.adapters.nft import NftLoader  # noqa: PLC0415
    from xfrmd.adapters.xfrm.spd import Spd  # noqa: PLC0415
    from xfrmd.daemon.reconcile import Reconciler  # noqa: PLC0415

    policy, facts = _loaded(policies.many(count))
    made, reconciler = Compilation(policy, facts), Reconciler(Spd(), NftLoader())
    reconciler.apply(made.plan)
    last = max(made.generics)
    taken: dict[str, list[float]] = {"add": [], "remove": []}
    for place in range(rounds):
        remote = Prefix.host(Address(4, (172 << 24) + place))
        like = made.generics[last]
        one = like._replace(number=last + 1 + place, filter=dataclasses.replace(like.filter, dst=(remote,)))
        for name, gone, new in (("add", [], [one]), ("remove", [one], [])):
            begun = time.perf_counter()
            delta = made.change(gone, new)
            assert delta is not None
            outcome = reconciler.change(made.plan, delta)
            taken[name].append(time.perf_counter() - begun)
            assert outcome.changes == {"ChangeElements": 2}, outcome
            assert not outcome.degraded
    assert not reconciler.check(made.plan).degraded
    return {
        **{name: statistics.median(values) * 1e3 for name, values in taken.items()},
        **{f"{name}_most": max(values) * 1e3 for name, values in taken.items()},
    }


def by_hand(count: int) -> Row:
    """`nft -f` of the smallest equal ruleset."""
    text = policies.by_hand(count)
    begun = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    taken = time.perf_counter() - begun
    return {"load": taken, "mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}


def sent(filters: int, classes: int, family: int, kind: str) -> Row:
    """Microseconds of CPU per unconnected UDP packet that leaves through a table. `kind`: maps, linear or none."""
    import socket  # noqa: PLC0415

    from xfrmd.adapters.nft import NftLoader  # noqa: PLC0415
    from xfrmd.adapters.xfrm.spd import Spd  # noqa: PLC0415
    from xfrmd.daemon.reconcile import Reconciler  # noqa: PLC0415

    _bring_up(
        "ip link add v0 type veth peer name v1",
        "ip addr add 192.168.1.5/24 dev v0",
        "ip addr add fd00:5::5/64 dev v0 nodad",
        "ip link set v0 up",
        "ip link set v1 up",
        "ip neigh add 192.168.1.9 lladdr 02:00:00:00:00:09 dev v0",
        "ip neigh add fd00:5::9 lladdr 02:00:00:00:00:09 dev v0",
    )
    if kind == "linear":
        subprocess.run(["nft", "-f", "-"], input=policies.linear(filters, family), text=True, check=True)
    elif kind == "maps":
        text = policies.classes(filters, classes, family)
        policy, _ = _loaded(text)
        own = '["192.168.1.5/24", "fd00:5::5/64"]'
        facts = load_facts(f"interfaces:\n  - {{name: v0, addresses: {own}}}\n", "facts.yaml")
        made = Compilation(policy, facts)
        asked = sum(rule.count("vmap") for chain in made.plan.nft.chains if chain.name == "classify_out"
                    for rule in chain.rules)  # fmt: skip
        assert asked == classes, (asked, classes)
        Reconciler(Spd(), NftLoader()).apply(made.plan)
    gc.collect()
    to = ("192.168.1.9" if family == 4 else "fd00:5::9", 9)
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        return {"us": min(_per_packet(sock, to) for _ in range(7))}


def _per_packet(sock: Any, to: tuple[str, int]) -> float:
    payload, count = b"x" * 64, 20_000
    before = time.process_time()
    for _ in range(count):
        sock.sendto(payload, to)
    return (time.process_time() - before) / count * 1e6


def policies_installed(count: int) -> Row:
    """XFRM policies a second for so many negotiate filters between single hosts; beside it `ip -batch`."""
    from xfrmd.adapters.nft import NftLoader  # noqa: PLC0415
    from xfrmd.adapters.xfrm.spd import Spd  # noqa: PLC0415
    from xfrmd.daemon.reconcile import Reconciler  # noqa: PLC0415

    policy, facts = _loaded(policies.many(count, "negotiate"))
    made = Compilation(policy, facts)
    entries = len(made.plan.spd)
    plan = dataclasses.replace(made.plan, nft=NO_PLAN.nft)  # the host's kernel may lack the queue that holds packets
    taken, outcome = _clock(lambda: Reconciler(Spd(), NftLoader()).apply(plan))
    assert not outcome.degraded, outcome.degraded[:3]
    return {"entries": entries, "apply": taken, "per_second": entries / taken}


def batch(count: int) -> Row:
    """The peer: so many policies by `ip -batch`."""
    lines = "\n".join(
        f"xfrm policy add src 192.168.1.5/32 dst 10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}/32 dir out "
        f"tmpl proto esp mode transport reqid {i + 1}"
        for i in range(count)
    )
    begun = time.perf_counter()
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    taken = time.perf_counter() - begun
    return {"entries": count, "apply": taken, "per_second": count / taken}


WORKERS: Final[dict[str, Callable[..., Row]]] = {
    "compiled": compiled,
    "changed": changed,
    "by_hand": by_hand,
    "sent": sent,
    "policies": policies_installed,
    "batch": batch,
}


def main(name: str, *arguments: str) -> None:
    """Run one and print what it measured."""
    values = [int(one) if one.isdigit() else one for one in arguments]
    print(json.dumps(WORKERS[name](*values)))


if __name__ == "__main__":
    main(*sys.argv[1:])
