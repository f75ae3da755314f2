# SPDX-License-Identifier: GPL-2.0-or-later
"""Which traffic an SA carries, RFC 7296 2.9."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.unit import ike_cases as case
from xfrmd.ike import narrow
from xfrmd.ike.lookup import PlanIndex
from xfrmd.ike.narrow import Ends, Traffic
from xfrmd.ike.v2.traffic import OPAQUE, TrafficSelector, from_selectors
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ANY_PORT, TCP, Ports, Selector
from xfrmd.model.spd import Mode

A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
ENDS = Ends(A, B, Mode.TRANSPORT)
ALL = case.protect(1, [case.selector("10.0.0.1", "0.0.0.0/0")])
SMB = case.protect(
    2,
    [
        case.selector("10.0.0.1", "10.0.0.0/24", "tcp", dport="445"),
        case.selector("10.0.0.1", "10.0.0.0/24", "tcp", sport="445"),
    ],
)
INDEX = PlanIndex(case.plan([ALL, SMB]))


def traffic(*selectors: Selector) -> Traffic:
    return Traffic(*from_selectors(selectors))


def hosts(protocol: str = "any", sport: str = "any", dport: str = "any") -> Selector:
    return case.selector("10.0.0.1", "10.0.0.2", protocol, sport, dport)


# fmt: off
ANSWERS = (
    # proposed (as we see it, outbound)                              filter, what the SA carries
    ((hosts("tcp", "40000", "445"), hosts()),                         2, hosts("tcp", dport="445")),
    ((hosts("tcp", "445", "40000"), hosts()),                         2, hosts("tcp", sport="445")),
    ((hosts("tcp", "40000", "80"), hosts()),                          1, hosts()),
    ((hosts("tcp", "40000", "445"),),                                 2, hosts("tcp", "40000", "445")),
    ((hosts("tcp", dport="445"),),                                    2, hosts("tcp", dport="445")),
    ((hosts("tcp", dport="1-1023"),),                                 1, hosts("tcp", dport="1-1023")),
    ((hosts(),),                                                      1, hosts()),
    ((case.selector("10.0.0.0/8", "10.0.0.0/8"),),                    1, hosts()),
)
# fmt: on


# rfc 7296: first-is-the-packet
@pytest.mark.parametrize(("proposed", "reqid", "carries"), ANSWERS)
def test_the_filter_and_the_part_of_it(proposed: tuple[Selector, ...], reqid: int, carries: Selector) -> None:
    found = narrow.answer(INDEX, ENDS, traffic(*proposed))
    assert found is not None
    assert (found.protect.reqid, found.traffic.outbound) == (reqid, (carries,))
    assert found.selector.contains(carries)


# rfc 7296: narrow-subset
def test_where_only_part_is_protected_the_widest_filter_narrows_it() -> None:
    index = PlanIndex(case.plan([SMB, case.protect(3, [case.selector("10.0.0.1", "10.0.0.0/24", "tcp")])]))
    found = narrow.answer(index, ENDS, traffic(hosts()))
    assert found is not None
    assert (found.protect.reqid, found.traffic.outbound) == (3, (hosts("tcp"),))


# rfc 7296: narrow-subset
def test_other_hosts_protocols_and_families_are_unacceptable() -> None:
    index = PlanIndex(case.plan([SMB]))
    for proposed in (
        traffic(case.selector("10.0.0.1", "10.0.0.3")),
        traffic(case.selector("10.0.9.1", "10.0.0.2")),
        traffic(hosts("udp")),
        traffic(case.selector("fd00::1", "fd00::2")),
        traffic(hosts("tcp", "40000", "80"), hosts("tcp", "40000", "81")),
        Traffic((), ()),
    ):
        assert narrow.answer(index, ENDS, proposed) is None, proposed


# rfc 7296: rekey-same-traffic
def test_a_rekey_stays_with_its_filter() -> None:
    found = narrow.answer(INDEX, ENDS, traffic(hosts("tcp", "40000", "445"), hosts("tcp")), only=1)
    assert found is not None
    assert found.protect.reqid == 1
    assert narrow.answer(INDEX, ENDS, traffic(hosts("udp")), only=2) is None


# rfc 7296: answer-within-offer
def test_an_answer_never_carries_what_its_filter_does_not_nor_what_was_not_proposed() -> None:
    rng = random.Random(3)

    def some_ports() -> Ports:
        first, last = sorted((rng.randrange(65536), rng.randrange(65536)))
        return rng.choice((ANY_PORT, Ports(445, 445), Ports(first, last)))

    def end(host: Address) -> TrafficSelector:
        prefix = rng.choice((Prefix.host(host), Prefix.parse("10.0.0.0/24"), Prefix.any(4)))
        return TrafficSelector.of(prefix, rng.choice((0, TCP, 17)), rng.choice((some_ports(), OPAQUE)))

    agreed = 0
    for _ in range(1500):
        proposed = Traffic(*(tuple(end(host) for _ in range(rng.randrange(1, 4))) for host in (A, B)))
        found = narrow.answer(INDEX, ENDS, proposed)
        if found is None:
            continue
        agreed += 1
        for carried in found.traffic.outbound:
            assert any(whole.contains(carried) for whole in found.protect.selectors)
            assert (carried.src, carried.dst) == (Prefix.host(A), Prefix.host(B))
            assert any(whole.contains(carried) for whole in proposed.outbound)
    assert agreed > 500


# rfc 7296: first-is-the-packet
def test_an_offer_leads_with_the_packet_where_that_is_narrower() -> None:
    region, packet = hosts("tcp", dport="445"), hosts("tcp", "40000", "445")
    assert [t.ports for t in narrow.offer(region, packet).local] == [Ports(40000, 40000), ANY_PORT]
    assert narrow.offer(packet, packet).outbound == (packet,)
    assert narrow.offer(region, None).outbound == (region,)
    assert narrow.offer(region, hosts("tcp")).outbound == (region,), "no specific packet"


def test_regions_of_packets_and_peers() -> None:
    assert narrow.region_of(SMB, hosts("tcp", "40000", "445")) == hosts("tcp", dport="445")
    assert narrow.region_of(SMB, hosts("tcp", "445", "40000")) == hosts("tcp", sport="445")
    assert narrow.region_of(SMB, hosts("udp", "1", "445")) is None
    assert narrow.widest_region(ALL, A, B) == hosts()
    assert narrow.widest_region(ALL, B, A) is None


# fmt: off
COVERS = (
    ((hosts("tcp", "7", "445"),),                              hosts("tcp", "7", "445")),
    ((hosts("tcp", dport="1024-2047"),),                       hosts("tcp", dport="1024-2047")),
    ((hosts("tcp", dport="1000-2000"),),                       hosts("tcp", dport="0-2047")),
    ((hosts("tcp", dport="80"), hosts("tcp", dport="81")),     hosts("tcp", dport="80-81")),
    ((hosts("tcp", dport="80"), hosts("udp", dport="80")),     hosts()),
    ((case.selector("10.0.0.4/31", "10.0.0.2"), case.selector("10.0.0.6", "10.0.0.2")),
     case.selector("10.0.0.4/30", "10.0.0.2")),
)
# fmt: on


@pytest.mark.parametrize(("selectors", "whole"), COVERS)
def test_the_kernel_gets_one_selector_of_prefixes_and_port_blocks(
    selectors: tuple[Selector, ...], whole: Selector
) -> None:
    assert narrow.cover(selectors) == whole


def test_what_a_tunnel_decides_is_carried_by_that_tunnel_alone() -> None:
    """Between hosts of two networks, of which one pair is protected without a tunnel: narrower, so it wins."""
    net = case.selector("10.0.0.0/16", "10.1.0.0/16")
    tunnel = replace(case.protect(5, [net], Mode.TUNNEL), tunnel=(A, B))
    direct = case.protect(6, [case.selector("10.0.0.1", "10.1.0.1")])
    index = PlanIndex(case.plan([tunnel, direct]))
    for source, mode, reqid in (
        ("10.0.0.9", Mode.TUNNEL, 5),
        ("10.0.0.9", Mode.TRANSPORT, None),
        ("10.0.0.1", Mode.TUNNEL, None),
    ):
        packet = case.selector(source, "10.1.0.1", "tcp", "40000", "80")
        local, remote = (A, B) if mode is Mode.TUNNEL else (packet.src.address, packet.dst.address)
        found = narrow.answer(index, Ends(local, remote, mode), traffic(packet, net))
        assert (found.protect.reqid if found else None) == reqid, (source, mode)
    other_way = narrow.answer(index, Ends(B, A, Mode.TUNNEL), traffic(net))
    assert other_way is None
