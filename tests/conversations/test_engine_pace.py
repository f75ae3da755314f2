# SPDX-License-Identifier: GPL-2.0-or-later
"""Many SAs that are renewed at once: so many at a time, and who does not answer holds up the others for seconds."""

from __future__ import annotations

from tests.conversations import plans
from tests.conversations.dialogue import Side, datagrams
from tests.conversations.scenes import A4, ping
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.events import Acquire, DatagramReceived, Delete, Rekey, TimerFired
from xfrmd.ike.pace import Pace
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.model.addresses import Address

_EXCHANGE = 18
"""The octet of its type in a message."""
PEERS = [Address.parse(f"10.0.1.{number}") for number in range(1, 6)]


class Hub:
    """A has an IKE SA and a child SA with each of the peers, and renews two at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.a = Side(A4, plans.plan(A4, PEERS), 1)
        self.a.engine._ctx.agenda.pace = Pace(2)
        self.peers = {peer: Side(peer, plans.plan(peer, [A4]), number) for number, peer in enumerate(PEERS, 2)}
        for peer in PEERS:
            self.talk(self.a.hear(Acquire(plans.ALL_REQID, ping(A4, peer)), 0.0))
        self.old = self.spis()
        assert len(self.old) == 2 * len(PEERS)

    def spis(self) -> set[bytes]:
        """Of all that A has."""
        sas = self.a.engine.ike_sas()
        return {sa.local_spi for sa in sas} | {child.spi_in.to_bytes(4) for sa in sas for child in sa.children}

    def deliver(self, sent: SendDatagram) -> list[SendDatagram]:
        """Let one arrive; what follows."""
        side = self.peers.get(sent.remote.address, self.a)
        return datagrams(side.hear(DatagramReceived(sent.remote, sent.local, sent.data), self.now))

    def talk(self, effects: list[Effect]) -> int:
        """Until all is said. How many rekeys were asked for at once, at most."""
        waiting, most = datagrams(effects), 0
        while waiting:
            most = max(most, sum(one.data[_EXCHANGE] == ExchangeType.CREATE_CHILD_SA for one in waiting))
            waiting += self.deliver(waiting.pop(0))
        return most

    def rekey_all(self) -> list[Effect]:
        """The operator wants it. What A sends first."""
        return [effect for spi in sorted(self.old) for effect in self.a.hear(Rekey(spi), self.now)]


def asked(effects: list[Effect]) -> list[Address]:
    return [one.remote.address for one in datagrams(effects)]


def test_so_many_are_renewed_at_once_and_all_in_the_end() -> None:
    hub = Hub()
    first = hub.rekey_all()
    assert len(asked(first)) == 2
    assert hub.talk(first) == 2
    assert not hub.spis() & hub.old
    assert len(hub.spis()) == len(hub.old)
    assert not hub.a.engine._ctx.agenda.pace._outstanding


def test_who_does_not_answer_holds_the_others_up_for_seconds() -> None:
    hub = Hub()
    silent = set(asked(hub.rekey_all()))
    end, renewed = 3.5, 0
    while (due := hub.a.engine.next_deadline()) is not None and due <= end:
        hub.now = due
        fired = hub.a.hear(TimerFired(), due)
        hub.talk([one for one in fired if not isinstance(one, SendDatagram) or one.remote.address not in silent])
        renewed = len(hub.old - hub.spis())
    assert renewed == 2 * (len(PEERS) - len(silent))


def test_what_ends_meanwhile_leaves_its_turn_to_others() -> None:
    hub = Hub()
    first, second = asked(hub.rekey_all())
    peer = hub.peers[first]
    (ending,) = peer.engine.ike_sas()
    (said,) = datagrams(peer.hear(Delete(ending.local_spi), hub.now))
    (third,) = {one.remote.address for one in hub.deliver(said)} - {first}
    assert third != second
