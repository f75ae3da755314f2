# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages as real peers send them: read whole, and written again to the octet."""

from __future__ import annotations

import pytest

from tests.fuzz.mutate import corpus
from xfrmd.ike.v2.cardinality import IKE_SA_INIT_REQUEST, IKE_SA_INIT_RESPONSE, Cardinality, form_of
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import KePayload, NotifyPayload, SaPayload, SkPayload
from xfrmd.model.proposals import Transform

PEERS = corpus()


# rfc 7296: unknown-status
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("strongswan_init_request.hex", IKE_SA_INIT_REQUEST),
        ("strongswan_init_response.hex", IKE_SA_INIT_RESPONSE),
    ],
)
def test_a_peers_message_is_read_and_written_again_to_the_octet(name: str, form: Cardinality) -> None:
    message = parse_clear(PEERS[name])
    assert form_of(message) is form
    assert build_clear(message.header, message.payloads) == PEERS[name]


# rfc 7296: aead-apart
def test_what_strongswan_offers_by_default() -> None:
    message = parse_clear(PEERS["strongswan_init_request.hex"])
    offer, exchange = message.first(SaPayload), message.first(KePayload)
    assert offer is not None
    assert exchange is not None
    assert (exchange.method, len(exchange.data)) == (31, 32)
    classic, combined = (proposal.understood for proposal in offer.proposals)
    assert {Transform(1, 12, 128), Transform(3, 12), Transform(2, 5), Transform(4, 31)} <= set(classic)
    assert {Transform(1, 20, 128), Transform(1, 28), Transform(2, 5), Transform(4, 31)} <= set(combined)
    assert all(len(proposal.understood) == len(proposal.transforms) for proposal in offer.proposals)
    assert [n.notify for n in message.every(NotifyPayload)] == [
        NotifyType.NAT_DETECTION_SOURCE_IP,
        NotifyType.NAT_DETECTION_DESTINATION_IP,
        NotifyType.IKEV2_FRAGMENTATION_SUPPORTED,
        NotifyType.SIGNATURE_HASH_ALGORITHMS,
        NotifyType.REDIRECT_SUPPORTED,
    ]


def test_a_sealed_message_of_strongswan_stays_closed() -> None:
    message = parse_clear(PEERS["strongswan_auth_response.hex"])
    assert message.payloads == ()
    assert isinstance(message.encrypted, SkPayload)
    assert message.encrypted.first == 36
