# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer that has proved itself and says what it likes: refusals, deletions and oddities in the place of its answers
and requests, under the right keys. No demand is ever left without somebody who works on it, and when the peer means it
again, traffic passes.

XFRMD_HOSTILE_LIVES says how many lives are lived.
"""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import replace

import pytest

from tests.conversations.interleavings import WISHES
from tests.conversations.network import PERFECT, Faults, Host, Network
from tests.conversations.plans import ALL_REQID, SMB_REQID, Settings, plan
from tests.conversations.scenes import A4, B4, ping, tcp
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, Event, PlanChanged
from xfrmd.ike.ike_sa import Task
from xfrmd.ike.v2.message import parse_clear
from xfrmd.ike.v2.payloads import DeletePayload, NotifyPayload, Payload
from xfrmd.model.proposals import ProtocolId

LIVES = int(os.environ.get("XFRMD_HOSTILE_LIVES", "12"))
LASTING = Settings(smb=True, ike_seconds=10_000_000, child_seconds=10_000_000)
PLANS = (LASTING, replace(LASTING, smb=False))
FOUND = (62,)
"""Lives that ended badly once: an IKE SA that ends was left what waited under its successor."""
STEPS = 60
REFUSALS = (*range(1, 50), 1234)
ODDITIES = (16384, *range(16388, 16450))
"""Error and status types, known and not (IANA "IKEv2 Notify Message Types")."""
PACKETS = {ALL_REQID: ping(A4, B4), SMB_REQID: tcp(A4, B4, 445)}


def context(host: Host) -> Context:
    assert isinstance(host.engine, Engine)
    return host.engine._ctx


def worked_on(ctx: Context, want: Want) -> bool:
    """Is it asked for, or about to be?"""
    for sa in ctx.store.ike_sas():
        tasks = [task for task in (sa.task, *sa.tasks) if task is not None]
        if any(task.want is want for task in tasks) or (sa.handshake is not None and sa.handshake.want is want):
            return True
    late = [subject for kind, subject in ctx.timers._when if kind is TimerKind.RETRY]
    return any(isinstance(task, Task) and task.want is want for task in late)


class HostileNetwork(Network):
    """What B says is twisted at every so many of its messages (`share`, from 0 to 1)."""

    share = 0.0

    def tell(self, host: Host, event: Event) -> list[Effect]:
        effects = super().tell(host, event)
        forgotten = [want.key for want in context(host).demand.every() if not worked_on(context(host), want)]
        assert not forgotten, f"{host.name}, after {type(event).__name__}: nobody works on {forgotten}"
        return effects

    def _transmit(self, datagram: SendDatagram) -> None:
        if datagram.local.address == B4 and self._rng.random() < self.share:
            datagram = self._twisted(datagram)
        super()._transmit(datagram)

    def _twisted(self, datagram: SendDatagram) -> SendDatagram:
        """The message with other payloads, sealed as B would; as it is where there are no keys yet."""
        clear, (a, b) = parse_clear(datagram.data), map(context, self.hosts.values())
        header = clear.header
        ours, theirs = (header.spi_r, header.spi_i) if header.from_initiator else (header.spi_i, header.spi_r)
        reader, writer = a.store.ike_sa(ours), b.store.ike_sa(theirs)
        if clear.encrypted is None or reader is None or writer is None or reader.channel is None:
            return datagram
        payloads = self._other(list(reader.channel.open(clear).payloads), a)
        return replace(datagram, data=writer.agreed_channel.seal(header, payloads))

    def _other(self, payloads: list[Payload], a: Context) -> list[Payload]:
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return [NotifyPayload(rng.choice(REFUSALS), rng.choice((b"", b"\0\x13", b"\0\x1f")))]
            case 1:
                payloads.append(NotifyPayload(rng.choice(REFUSALS), rng.choice((b"", b"\0\x13"))))
            case 2:
                payloads.append(NotifyPayload(rng.choice(ODDITIES), rng.randbytes(rng.choice((0, 4, 8, 32)))))
            case 3:
                children = [child.spi_out.to_bytes(4) for child in a.store.all_children()]
                payloads.append(DeletePayload(ProtocolId.ESP, tuple(rng.sample(children, min(1, len(children))))))
            case 4:
                payloads.append(DeletePayload(ProtocolId.IKE))
            case _ if payloads:
                payloads.pop(rng.randrange(len(payloads)))
        return payloads


def wish(network: HostileNetwork, host: Host, current: dict[str, Settings]) -> Event | None:
    """Something that operators, lifetimes, traffic or policies want of a host."""
    rng, peer = network._rng, B4 if host.address == A4 else A4
    kind = rng.choice((*WISHES, "ask", "ask", "ask for SMB", "ask for SMB", "plan"))
    if kind in WISHES:
        return WISHES[kind](host)
    if kind == "plan":
        current[host.name] = PLANS[PLANS.index(current[host.name]) - 1]
        return PlanChanged(plan(host.address, [peer], current[host.name]))
    if kind == "ask":
        return Acquire(ALL_REQID, ping(host.address, peer))
    return Acquire(SMB_REQID, tcp(host.address, peer, 445))


@pytest.mark.parametrize("seed", sorted({*range(LIVES), *FOUND}))
def test_whatever_a_peer_says_no_traffic_waits_for_good(seed: int) -> None:
    network = HostileNetwork(seed)
    a, b = (
        network.add(name, own, Engine(plan(own, [peer], LASTING), network.entropy()))
        for name, own, peer in (("A", A4, B4), ("B", B4, A4))
    )
    network.tell(a, Acquire(ALL_REQID, PACKETS[ALL_REQID]))
    network.run(20.0)
    current, rng = {"A": LASTING, "B": LASTING}, random.Random(seed)
    network.share, network.faults = rng.choice((0.1, 0.3, 0.6)), Faults(loss=rng.choice((0, 0.1)), delay=(0.001, 0.05))
    for _ in range(STEPS):
        host = rng.choice((a, b))
        with contextlib.suppress(StopIteration):
            event = wish(network, host, current)
            if event is not None:
                network.tell(host, event)
        network.run(network.now + rng.choice((0.01, 0.03, 0.2, 1.0, 5.0, 40.0)))
    network.share, network.faults = 0.0, PERFECT
    network.run(network.now + 400.0)
    for host, peer in ((a, B4), (b, A4)):
        network.tell(host, PlanChanged(plan(host.address, [peer], LASTING)))
    for reqid, packet in PACKETS.items():
        for _ in range(2):  # the first may find that the peer has forgotten
            network.run(network.now + 200.0)
            network.tell(a, Acquire(reqid, packet))
        network.run(network.now + 200.0)
        assert a.kernel.outbound(packet, reqid) is not None, f"no SA for {packet}"
