# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that connect to one responder over a network: our engine stands for all of them, with sockets and no kernel.

`python -m bench.clients`, with its Work in JSON as argument, in the host where they are to live: each has an address of
its own and connects once, so many at a time. A client is connected when it would give both its SAs to a kernel, or
when its IKE SA stands where that is all it wants. When all are, they rekey their IKE SAs if that is asked for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.pair import REQID, Suite, plan
from tests.lab import certificates
from tests.unit import pki
from tests.unit.pki import Holder
from xfrmd.adapters.udp import UdpSockets
from xfrmd.ike.effects import Effect, InstallSa, SendDatagram, Tell
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Event, Initiate, InitiateIke, Rekey, TimerFired
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.notice import Level
from xfrmd.model.pad import AuthMethod

TICK: Final = 0.25
"""Seconds between two looks at timers: what is lost is sent again."""
LIMIT: Final = 200.0
"""Seconds for all of them."""


@dataclass(frozen=True, slots=True)
class Work:
    """`count` clients from the address `first` on, of the block `clients`; `window` of them at a time."""

    suite: Suite
    clients: str
    first: int
    count: int
    window: int
    server: str
    authority: str = ""
    """A directory with ca.pem and ca.key, of whom each client has a certificate; "" where they share a secret."""
    childless: bool = False
    """IKE SAs alone (RFC 6023)."""
    storm: int = 0
    """So many rekeys at a time once all are connected; 0 for none."""

    @classmethod
    def from_json(cls, text: str) -> Work:
        """What `to_json` made."""
        read: dict[str, Any] = json.loads(text)
        return cls(**{**read, "suite": Suite(*read["suite"])})

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    def addresses(self) -> Iterator[Address]:
        """The clients."""
        block = Prefix.parse(self.clients)
        return (Address(4, block.value + self.first + number) for number in range(self.count))


@dataclass(slots=True)
class Clients:
    """Their state. `under_way`: how many SAs each client has that has begun and is not connected yet."""

    work: Work
    engine: Engine = field(init=False)
    sockets: UdpSockets = field(init=False)
    server: Address = field(init=False)
    waiting: Iterator[Address] = field(init=False)
    under_way: dict[Address, int] = field(default_factory=dict)
    begun: dict[Address, float] = field(default_factory=dict)
    longest: float = 0.0
    """Seconds of the handshake that took longest."""
    connected: int = 0
    sent: int = 0
    """Datagrams."""
    rekeyed: int = 0
    left: Iterator[bytes] = field(default_factory=lambda: iter(()))
    """SPIs of IKE SAs to be rekeyed."""
    complaints: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        work = self.work
        self.server = Address.parse(work.server)
        own = _certified(Path(work.authority), work.addresses()) if work.authority else {}
        policy = plan(Prefix.parse(work.clients), [Prefix.host(self.server)], work.suite, own)
        self.engine = Engine(policy, os.urandom, time.time)
        self.sockets = UdpSockets(self.tell)
        self.waiting = work.addresses()

    def fill(self) -> None:
        """Have clients begin as long as the window is not full."""
        while len(self.under_way) < self.work.window and (one := next(self.waiting, None)) is not None:
            self.under_way[one] = 0
            self.begun[one] = time.monotonic()
            self._handle(InitiateIke(one, self.server) if self.work.childless else Initiate(REQID, one, self.server))
        if not self.under_way:
            self.done.set()

    def tell(self, event: Event) -> None:
        """Have the engine handle an event, and another client begin where one is connected."""
        before = self.connected, self.rekeyed
        self._handle(event)
        if self.connected != before[0]:
            self.fill()
        for _ in range(self.rekeyed - before[1]):
            self._rekey()

    def _handle(self, event: Event) -> None:
        for effect in self.engine.handle(event, time.monotonic()):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendDatagram(local, remote, data):
                self.sent += 1
                if refusal := self.sockets.send(local, remote, data):
                    self.complaints.append(refusal)
            case InstallSa(sa):
                self._installed(sa.src if sa.dst == self.server else sa.dst)
            case Tell(notice) if notice.code == "ike-up" and self.work.childless:
                self._connected(Address.parse(notice.fields["local"]))
            case Tell(notice) if notice.code == "ike-rekeyed":
                self.rekeyed += 1
                if self.rekeyed == self.work.count:
                    self.done.set()
            case Tell(notice) if notice.level <= Level.WARNING:
                self.complaints.append(notice.message)

    def _installed(self, client: Address) -> None:
        self.under_way[client] += 1
        if self.under_way[client] == 2:
            self._connected(client)

    def _connected(self, client: Address) -> None:
        del self.under_way[client]
        self.longest = max(self.longest, time.monotonic() - self.begun.pop(client))
        self.connected += 1

    def _rekey(self) -> None:
        """Have the next one rekey its IKE SA."""
        if (spi := next(self.left, None)) is not None:
            self._handle(Rekey(spi))

    async def _storm(self) -> float:
        """All of them, and how many seconds it took. TimeoutError."""
        self.left = iter([sa.local_spi for sa in self.engine.ike_sas()])
        self.done.clear()
        begun = time.monotonic()
        for _ in range(self.work.storm):
            self._rekey()
        async with asyncio.timeout(LIMIT):
            await self.done.wait()
        return time.monotonic() - begun

    async def run(self) -> tuple[float, float]:
        """Connect all, and rekey all if that is asked for; seconds that each took. TimeoutError."""
        self.sockets.open()
        self.sockets.attach(asyncio.get_running_loop())
        begun = time.monotonic()
        ticks = asyncio.create_task(self._timers())
        self.fill()
        async with asyncio.timeout(LIMIT):
            await self.done.wait()
        taken = time.monotonic() - begun
        stormed = await self._storm() if self.work.storm else 0.0
        ticks.cancel()
        self.sockets.close()
        return taken, stormed

    async def _timers(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.tell(TimerFired())


def _certified(directory: Path, clients: Iterator[Address]) -> dict[Prefix, AuthMethod]:
    """A certificate for each client. They share a key, which nobody can see and which takes long to make."""
    authority = Holder(
        x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()),
        serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None),
    )
    kind = "rsa" if isinstance(authority.key, rsa.RSAPrivateKey) else "p256"
    key = pki.new_key(kind)
    end = authority.parsed.not_valid_after_utc
    return {
        Prefix.host(one): pki.method(
            authority, [certificates.host(f"c{one.value}", authority, kind, own_key=key, end=end)]
        )
        for one in clients
    }


def main(text: str) -> None:
    """Connect, and print what came of it."""
    clients = Clients(Work.from_json(text))
    try:
        seconds, storm = asyncio.run(clients.run())
    except TimeoutError:
        what = f"{clients.connected} connected, {clients.rekeyed} rekeyed"
        sys.exit(f"not all clients are done in {LIMIT} s: {what}: {clients.complaints[:5]}")
    told = {"connected": clients.connected, "seconds": seconds, "longest": clients.longest, "sent": clients.sent}
    told |= {"rekeyed": clients.rekeyed, "storm": storm}
    print(json.dumps(told | {"complaints": len(clients.complaints)}))


if __name__ == "__main__":
    main(sys.argv[1])
