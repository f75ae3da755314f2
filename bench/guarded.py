# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's way from IKE's sockets to the engine and back, without a kernel that has ESP: what floods are tried on.

`python -m bench.guarded`, in its host: sockets, inbox, engine, timers and journal as the daemon wires them, and a
policy that takes any peer which has the secret. It carries out no effect but datagrams and notices, and asks no kernel
for SAs: its peers begin IKE SAs alone (RFC 6023). Prints a line when it is ready, and its counters in JSON for each
line that it is given; ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Final

from bench.pair import Suite, plan
from xfrmd.adapters.journal import Journal, stream_sink
from xfrmd.adapters.udp import UdpSockets
from xfrmd.daemon.core import Core, Faults
from xfrmd.daemon.inbox import Inbox
from xfrmd.daemon.sieve import Sieve
from xfrmd.ike.effects import Effect, SendDatagram, Tell
from xfrmd.ike.engine import Engine
from xfrmd.model.addresses import Prefix

SUITE: Final = Suite("AES128-GCM", "", "SHA256", "X25519")
ANY: Final = Prefix.parse("0.0.0.0/0")


class Guarded:
    """The parts, wired."""

    def __init__(self) -> None:
        self.journal = Journal(stream_sink(sys.stderr))
        self.faults = Faults(self.journal.tell)
        self.engine = Engine(plan(ANY, [ANY], SUITE), os.urandom, time.time)
        self.core = Core(self.engine, self.carry, self.faults, keep=self.engine.forget_changes)
        # The sockets come after it.
        sieve = Sieve(lambda shares: self.sockets.let_in(shares), self.engine.suspect, self.journal.tell)  # noqa: PLW0108
        self.inbox = Inbox(self.core.post, sieve)
        self.sockets = UdpSockets(self.inbox.take, pressed=sieve.pressed)

    def carry(self, effect: Effect) -> None:
        """What follows from an event, as far as it needs no kernel."""
        match effect:
            case SendDatagram(local, remote, data):
                self.sockets.send(local, remote, data)
            case Tell(notice):
                self.journal.tell(notice)

    def counters(self) -> dict[str, int]:
        """All of them; names of different parts differ."""
        return {
            **self.engine.counters(),
            "udp-received": self.sockets.counters["received"],
            "no-room": self.inbox.dropped,
            "faults": self.faults.count,
        }


async def serve() -> None:
    """Until the input ends."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    guarded = Guarded()
    guarded.sockets.open()
    guarded.sockets.attach(loop)

    def asked() -> None:
        if sys.stdin.readline():
            print(json.dumps(guarded.counters()), flush=True)
        else:
            end.set()

    loop.add_reader(sys.stdin.fileno(), asked)
    print("ready", flush=True)
    await end.wait()
    guarded.sockets.detach(loop)
    guarded.sockets.close()


if __name__ == "__main__":
    asyncio.run(serve())
