# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter against the policy's oracle, in random worlds: XFRMD_WORLDS policies (default 500).

It is compiled on one host and holds at the next start, where addresses, servers and interfaces are others. What the
policy blocks or protects there it must drop; and on a host that speaks of nothing unknown, it must drop nothing else.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest

from tests.unit.compiler_cases import facts
from tests.worlds.golden import packet_text
from tests.worlds.traffic import Traffic
from tests.worlds.world import HOSTS, World, world
from xfrmd.compiler.boot import table
from xfrmd.compiler.exempt import LOOPBACK
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.compiler.oracle import decide
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Verdict
from xfrmd.model.selector import Packet
from xfrmd.policy import PolicyErrors
from xfrmd.policy.words import AddressWord, BootMode, ConnectionType, Unresolved

WORLDS = int(os.environ.get("XFRMD_WORLDS", "500"))
PACKETS = 40
NEXT = (
    *HOSTS,
    replace(
        facts("192.0.2.7/24", "10.1.2.3/16", "fd00:2::77/64", dialup=("10.1.0.9/32", "fd00:1::9/128")),
        dns_servers=(Address.parse("10.1.2.5"), Address.parse("fd00:2::1")),
        wins_servers=(Address.parse("10.1.0.7"),),
        dhcp_servers=(Address.parse("10.0.0.3"),),
        default_gateways=(Address.parse("10.1.0.8"), Address.parse("fd00:1::1")),
    ),
)
"""Hosts that another one may be at its next start."""
KNOWN = {AddressWord.ME, AddressWord.ANY}


def moved(one: World, dice: random.Random) -> World:
    """The same policy at the next start. Names keep their addresses, unless the policy fails closed without them."""
    closed = one.policy.unresolved is Unresolved.BLOCK
    names = {} if closed and dice.random() < 0.5 else one.host.names
    return one._replace(host=replace(dice.choice(NEXT), names=names))


def local(packet: Packet, host: HostFacts) -> bool:
    """Is it from or for the host itself? All else is forwarded, which the boot filter drops."""
    selector, own = packet.selector, host.own_addresses()
    return (selector.dst if packet.inbound else selector.src).address in own


def passes(made: Interpreter, packet: Packet, *, answers: bool) -> bool:
    chain = "prerouting" if packet.inbound else "postrouting"
    return made.run(chain, Seen(packet, frozenset(), protected=False, answers=answers)) == "accept"


def compiled(one: World) -> Interpreter | None:
    """The boot filter as it is saved on this host; None where a policy is too large without facts."""
    try:
        made = table(one.policies, one.host, BootMode.STATEFUL)
    except PolicyErrors:
        return None
    assert made is not None
    return Interpreter(made)


def packets(one: World, seed: int) -> Iterator[Packet]:
    return (packet for packet in islice(Traffic(one, seed), PACKETS) if local(packet, one.host))


def leaks(seed: int) -> Iterator[str]:
    """Packets of the next start that the policy forbids and the boot filter lets pass."""
    saved = world(seed)
    made, then = compiled(saved), moved(saved, random.Random(f"boot {seed}"))
    for packet in packets(then, seed) if made else ():
        found = decide(then.policies, then.host, packet)
        forbidden = found.verdict is Verdict.BLOCK or (
            found.verdict is Verdict.NEGOTIATE and not (found.inpass and packet.inbound)
        )
        assert made is not None
        if forbidden and any(passes(made, packet, answers=answers) for answers in (True, False)):
            yield f"seed {seed}: {packet_text(packet)} passes, the policy says {found}"


def is_known(one: World) -> bool:
    """Does the policy speak of nothing that is unknown at the next start?"""
    filters = [each for rule in one.rules for each in rule.filter_list.filters]
    words = {end for each in filters for end in (each.src, each.dst) if isinstance(end, AddressWord)}
    return words <= KNOWN and all(
        rule.conntype is ConnectionType.ALL and rule.tunnel is None for rule in one.rules if rule.active
    )


def losses(seed: int) -> Iterator[str]:
    """Packets that the policy lets pass, and the boot filter drops although the host begins or awaits them."""
    saved = world(seed)
    open_ = replace(saved.policy, unresolved=Unresolved.KEEP)
    saved = saved.with_policy(open_)
    made = compiled(saved) if is_known(saved) else None
    for packet in packets(saved, seed) if made else ():
        found = decide(saved.policies, saved.host, packet)
        let = found.verdict in (Verdict.PERMIT, Verdict.PASS) and not found.rule.startswith("exempt-")
        assert made is not None
        if let and found.rule != LOOPBACK and not passes(made, packet, answers=packet.inbound):
            yield f"seed {seed}: {packet_text(packet)} is dropped, the policy says {found}"


@pytest.mark.timeout(60 + WORLDS // 10)
def test_nothing_passes_at_the_next_start_that_the_policy_blocks_or_protects_there() -> None:
    assert next((said for seed in range(WORLDS) for said in leaks(seed)), None) is None


@pytest.mark.timeout(60 + WORLDS // 10)
def test_nothing_else_is_dropped_of_what_the_host_begins_and_the_answers_to_it() -> None:
    assert next((said for seed in range(WORLDS) for said in losses(seed)), None) is None


def test_the_worlds_have_packets_of_both_kinds() -> None:
    """The control: the two tests above ask about something."""
    known = [world(seed) for seed in range(60) if is_known(world(seed))]
    verdicts = {decide(one.policies, one.host, packet).verdict for one in known for packet in packets(one, 1)}
    assert verdicts == set(Verdict)
