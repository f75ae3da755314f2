# SPDX-License-Identifier: GPL-2.0-or-later
"""Identities of every kind that a policy can name, each in a negotiation with a preshared key (RFC 7296 3.5, 4)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.conversations.dialogue import Dialogue
from tests.conversations.plans import Settings
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.plan import Plan

OCTETS = bytes(range(256))[-64:]
KINDS = [
    (IdType.FQDN, b"host.example.org"),
    (IdType.RFC822_ADDR, b"someone@example.org"),
    (IdType.IPV4_ADDR, bytes([192, 0, 2, 7])),
    (IdType.IPV6_ADDR, bytes(15) + b"\x07"),
    (IdType.KEY_ID, b"office-7"),
    (IdType.KEY_ID, bytes([0, 0xFF, 0x0A])),
]


def named(plan: Plan, local: Identity, remote: Identity) -> Plan:
    return replace(plan, pad=(replace(plan.pad[0], local_id=local, remote_id=remote),))


# rfc 7296: id-types pki-and-psk psk-input
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(Identity(*kind)))
def test_peers_name_themselves_by_it_and_a_secret_of_any_octets(kind: tuple[IdType, bytes]) -> None:
    ours, theirs = Identity(*kind), Identity(IdType.KEY_ID, b"the other")
    settings = Settings(psk=OCTETS)
    one, other = partial(named, local=ours, remote=theirs), partial(named, local=theirs, remote=ours)
    talk = Dialogue(settings, a=one, b=other)
    talk.connect()
    assert talk.b.engine.ike_sas()[0].remote_id == str(ours)
    assert talk.a.engine.ike_sas()[0].remote_id == str(theirs)


# rfc 7296: identity-fits-key
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(Identity(*kind)))
def test_another_value_or_the_same_octets_of_another_type_are_somebody_else(kind: tuple[IdType, bytes]) -> None:
    ours, theirs = Identity(*kind), Identity(IdType.KEY_ID, b"the other")
    type_, value = kind
    for wrong in (
        Identity(type_, value[:-1] + b"!"),
        Identity(IdType.KEY_ID if type_ is not IdType.KEY_ID else IdType.FQDN, value),
    ):
        talk = Dialogue(a=partial(named, local=ours, remote=theirs), b=partial(named, local=theirs, remote=wrong))
        talk.talk(talk.acquire())
        assert not talk.a.installed() + talk.b.installed()
        assert str(wrong) in talk.b.told("auth-failed").message
