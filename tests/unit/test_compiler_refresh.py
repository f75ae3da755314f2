# SPDX-License-Identifier: GPL-2.0-or-later
"""A compilation follows facts at the cost of what changed."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.compiler_cases import facts, one, policy, rule, tunnel
from xfrmd.compiler.compile import Compilation
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, Interface, InterfaceKind
from xfrmd.model.plan import PlanDelta, Verdict
from xfrmd.model.spd import SpdAction

HOST = replace(facts("10.1.0.5/16"), names={"files.example": (Address.parse("10.2.0.9"),)})


def made() -> Compilation:
    return Compilation(policy(rule("block", one("me", "files.example"), one("me", "10.3.0.0/16"))), HOST)


def test_a_link_without_addresses_changes_nothing() -> None:
    link = Interface("veth0", InterfaceKind.LAN, ())
    assert made().refresh(replace(HOST, interfaces=(link, *HOST.interfaces))) == PlanDelta()


def test_a_renamed_link_changes_nothing() -> None:
    renamed = tuple(replace(interface, name="wan") for interface in HOST.interfaces)
    assert made().refresh(replace(HOST, interfaces=renamed)) == PlanDelta()


def with_own(*on_link: str, dialup: tuple[str, ...] = ()) -> HostFacts:
    return replace(HOST, interfaces=facts(*on_link, dialup=dialup).interfaces)


def test_an_own_address_that_comes_touches_what_speaks_of_it_alone() -> None:
    compilation = made()
    delta = compilation.refresh(with_own("10.1.0.5/16", "10.1.0.6/16"))
    assert delta is not None
    assert not delta.structure
    changes = {name: (len(change.removed), len(change.added)) for name, change in delta.elements.items()}
    assert changes.pop("own4") == (0, 1)
    assert sorted(changes.values()) == [(0, 1)] * 4
    assert [str(one) for one in compilation.plan.local] == ["10.1.0.5", "10.1.0.6"]
    back = compilation.refresh(with_own("10.1.0.6/16"))
    assert back is not None
    assert {(len(change.removed), len(change.added)) for change in back.elements.values()} == {(1, 0)}


def test_another_subnet_has_another_broadcast_address() -> None:
    compilation = Compilation(policy(rule("negotiate", one("me", "any", "udp"))), facts("10.1.0.5/16"))
    delta = compilation.refresh(with_own("10.1.0.5/24"))
    assert delta is not None
    assert delta.structure
    assert {str(entry.selector.dst) for entry in delta.spd_gone} == {"10.1.255.255"}
    assert {str(entry.selector.dst) for entry in delta.spd_new} == {"10.1.0.255"}


def test_an_address_on_another_kind_of_link_is_that_of_other_rules() -> None:
    compilation = Compilation(policy(rule("block", one("me", "10.3.0.0/16"), conntype="lan")), facts("10.1.0.5/32"))
    delta = compilation.refresh(facts(dialup=("10.1.0.5/32",)))
    assert delta is not None
    assert not compilation.plan.filters
    assert compilation.refresh(facts("10.1.0.5/32")) is not None
    assert len(compilation.plan.filters) == 2


def test_a_host_that_gets_its_first_address_negotiates_without_compiling_anew() -> None:
    compilation = Compilation(policy(rule("negotiate", one("me", "10.3.0.0/16"))), facts())
    assert not compilation.plan.protect
    delta = compilation.refresh(facts("10.1.0.5/32"))
    assert delta is not None
    assert delta.negotiates
    assert set(delta.spd_new) == set(compilation.plan.spd)
    assert compilation.plan.protect


def test_a_tunnel_begins_when_its_end_becomes_an_address_of_the_host() -> None:
    ends = tunnel("10.5.0.0/16", "10.6.0.0/16", "192.0.2.1", "203.0.113.2")
    compilation = Compilation(policy(*ends), facts("10.1.0.5/32"))
    assert {one.verdict for one in compilation.plan.filters} == {Verdict.BLOCK}
    delta = compilation.refresh(facts("10.1.0.5/32", "192.0.2.1/32"))
    assert delta is not None
    assert {one.verdict for one in compilation.plan.filters} == {Verdict.NEGOTIATE}


def test_a_name_that_moves_touches_its_filters_alone() -> None:
    compilation = made()
    delta = compilation.refresh(replace(HOST, names={"files.example": (Address.parse("10.2.0.10"),)}))
    assert delta is not None
    assert [(len(change.removed), len(change.added)) for change in delta.elements.values()] == [(1, 1), (1, 1)]
    assert not delta.structure


def test_a_negotiate_filter_that_a_permit_has_hidden_is_protected_when_the_permit_goes() -> None:
    """A name whose address moves away takes a permit along, and the filter behind it had no SPD entry at all."""
    behind = Address.parse("10.2.0.9")
    hides = rule("permit", one("me", "files.example", "tcp", dport=445))
    hidden = rule("negotiate", one("me", "10.2.0.9", "tcp", dport=445, line=2), line=2)
    compilation = Compilation(policy(hides, hidden), replace(facts("10.1.0.5/16"), names={"files.example": (behind,)}))
    assert not compilation.plan.protect
    elsewhere = replace(compilation.facts, names={"files.example": (Address.parse("10.2.0.8"),)})
    assert compilation.refresh(elsewhere) is not None
    protected = {entry.selector.dst for entry in compilation.plan.spd if entry.action is SpdAction.PROTECT}
    assert Prefix.host(behind) in protected
