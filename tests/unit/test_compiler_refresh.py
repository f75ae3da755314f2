# SPDX-License-Identifier: GPL-2.0-or-later
"""A compilation follows facts at the cost of what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.compiler_cases import facts, one, policy, rule
from xfrmd.compiler.compile import Compilation
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import Interface, InterfaceKind
from xfrmd.model.plan import PlanDelta
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


@pytest.mark.parametrize("other", ["10.1.0.6/16", "10.1.0.5/24"])
def test_another_address_or_subnet_is_compiled_anew(other: str) -> None:
    assert made().refresh(replace(HOST, interfaces=facts(other).interfaces)) is None


def test_another_kind_of_link_is_compiled_anew() -> None:
    dialup = tuple(replace(interface, kind=InterfaceKind.DIALUP) for interface in HOST.interfaces)
    assert made().refresh(replace(HOST, interfaces=dialup)) is None


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
