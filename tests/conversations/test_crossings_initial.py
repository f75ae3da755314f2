# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends begin at once, and INITIAL_CONTACT of one reaches the other when that one's own IKE SA stands already.

Some peers (strongSwan) then forget what they have just made themselves, without a word: our INITIAL_CONTACT was said
before. Of which kind a peer is shows when it is asked by the IKE SA in question.
"""

from __future__ import annotations

import pytest

from tests.conversations.network import PERFECT
from tests.conversations.scenes import Pair, pair, summary
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import Delete

AUTH_REQUEST = bytes((35, 0x08))
"""Exchange type and flags of the initiator's IKE_AUTH (RFC 7296 3.1)."""


class Crossing:
    """A's IKE_AUTH is lost once, so that B's IKE SA stands first; `forgets`: B has none of it when A's has come."""

    def __init__(self, seed: int, *, forgets: bool) -> None:
        self.scene: Pair = pair(seed)
        self.forgets = forgets
        self._asked = 0
        self._forgotten = b""
        self.scene.network.lose = self._lose
        self.scene.acquire(self.scene.a)
        self.scene.acquire(self.scene.b)

    def _lose(self, datagram: SendDatagram) -> bool:
        spis = datagram.data[:8]
        if datagram.data[18:20] == AUTH_REQUEST and datagram.local.address == self.scene.a.address:
            self._asked += 1
            if self._asked == 2 and self.forgets:
                (own,) = (sa for sa in self.scene.b.ike_sas() if sa.initiator)
                self._forgotten = own.local_spi
                arrival = self.scene.network.now + PERFECT.delay[1]
                self.scene.network.at(arrival, self.scene.b, Delete(own.local_spi))
            return self._asked == 1
        return spis == self._forgotten


seeds = pytest.mark.parametrize("seed", range(6))


# rfc 7296: initial-contact
@seeds
def test_a_peer_that_forgets_its_own_ike_sa_keeps_ours(seed: int) -> None:
    crossing = Crossing(seed, forgets=True)
    scene = crossing.scene
    scene.network.run(3.0)
    flows = [scene.flow(host, 1.0) for host in scene.hosts]
    scene.network.run(5.0)
    assert [flow.lost for flow in flows] == [[], []], "while it has not answered, packets go by what it certainly has"
    scene.network.run(40.0)
    (sa,) = scene.a.ike_sas()
    assert sa.initiator, summary(scene)
    assert len(sa.children) == 1, summary(scene)
    scene.works()


# rfc 7296: initial-contact lowest-nonce
@seeds
def test_a_peer_that_forgets_nothing_has_the_one_with_the_higher_nonce_in_the_end(seed: int) -> None:
    scene = Crossing(seed, forgets=False).scene
    scene.network.run(60.0)
    scene.agree()
    scene.works()
