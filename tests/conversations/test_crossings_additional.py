# SPDX-License-Identifier: GPL-2.0-or-later
"""Rekeys with additional key exchanges (RFC 9370) while the other end rekeys or deletes too: one story a test.

A rekey is two exchanges here, CREATE_CHILD_SA and IKE_FOLLOWUP_KE, and no SA is made before the second. What crosses
may come before the first, between them, or after.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.crossings import Crossing, other
from tests.conversations.plans import GCM_X25519, Settings
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.model.proposals import Transform

MLKEM768 = Transform(6, 36)
ADDITIONAL = Settings(ike=((*GCM_X25519, MLKEM768),), pfs=True, fragment_size=4000)
"""Each message is one datagram."""
FOLLOWUP = ExchangeType.IKE_FOLLOWUP_KE
who_begins = pytest.mark.parametrize("who", ["a", "b"])


def follows(talk: Crossing, who: str, wish: str) -> None:
    """One end has had the answer to its CREATE_CHILD_SA, and its IKE_FOLLOWUP_KE is on its way."""
    talk.wish(who, wish)
    talk.arrive(who)
    talk.arrive(other(who))
    assert talk.read(who).header.exchange == FOLLOWUP


# A deletion of our own while a key exchange is under way


# rfc 9370: followup
# rfc 7296: delete-ike-takes-children
@who_begins
@pytest.mark.parametrize("wish", ["rekey-child", "rekey-ike", "new-child"])
def test_an_ike_sa_that_is_deleted_by_who_rekeys_between_its_exchanges_is_deleted_at_the_peer(
    who: str, wish: str
) -> None:
    """The deletion waits for the answer to IKE_FOLLOWUP_KE, which is known for one."""
    talk = Crossing(settings=replace(ADDITIONAL, smb=True), steady=False)
    follows(talk, who, wish)
    talk.wish(who, "delete-ike")
    talk.gone()
