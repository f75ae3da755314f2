# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody who asks for IKE SAs and means none of them.

`python -m tests.lab.flooder MODE TARGET SECONDS RATE LINK`, in its host. Modes: `forged`: IKE_SA_INITs from made-up
addresses of 198.18.0.0/15, put on the wire below IP, to the hardware address LINK; `cookies`: from its own address,
with the cookie that it is told, and nothing after that. RATE: messages a second, 0 for as many as it can. It ends by
itself, or on SIGTERM, and prints in JSON what was sent, in how many seconds, and how many of those were answered with a
key exchange.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from bench.pair import REQID, Suite, plan
from tests.lab.injection import datagram
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Initiate
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import ClearMessage, build_clear, parse_clear
from xfrmd.ike.v2.payloads import KePayload, NotifyPayload
from xfrmd.model.addresses import Address, Prefix

FORGED: Final = int(IPv4Address("198.18.0.0"))
FRAMES: Final = 8192
_SUITE: Final = Suite("AES128-GCM", "", "SHA256", "X25519")
_LONGEST: Final = 60.0
_ENOUGH: Final = threading.Event()


def greeting() -> ClearMessage:
    """An IKE_SA_INIT as we send it, for one suite."""
    own, peer = Address.parse("10.1.0.1"), Address.parse("10.1.0.2")
    engine = Engine(plan(Prefix.host(own), [Prefix.host(peer)], _SUITE), os.urandom)
    effects = engine.handle(Initiate(REQID, own, peer), 0.0)
    return parse_clear(next(one.data for one in effects if isinstance(one, SendDatagram)))


def asked(first: ClearMessage, *, cookie: NotifyPayload | None = None, spi: bytes = b"") -> bytes:
    """The message under another SPI of the sender's, by default one drawn by lot."""
    payloads = [one for one in first.payloads if not isinstance(one, NotifyPayload)]
    header = first.header._replace(spi_i=spi or os.urandom(8))
    return build_clear(header, [cookie, *payloads] if cookie is not None else payloads)


def _paced(seconds: float, rate: float) -> Iterator[int]:
    begun = time.monotonic()
    end = begun + min(seconds, _LONGEST)
    number = 0
    while (now := time.monotonic()) < end and not _ENOUGH.is_set():
        if rate and number >= (now - begun) * rate:
            time.sleep(0.001)
            continue
        yield number
        number += 1


def forged(target: str, link: str, seconds: float, rate: float) -> dict[str, float]:
    """From made-up addresses. `link`: the hardware address of the target."""
    first, lots = greeting(), random.Random(1)
    head = bytes.fromhex(link.replace(":", "")) + bytes.fromhex("020000000001") + b"\x08\x00"
    frames = []
    for _ in range(FRAMES):
        source = str(IPv4Address(FORGED + lots.randrange(1 << 17)))
        frames.append(head + datagram(source, target, 500, 500, asked(first, spi=lots.randbytes(8))))
    sent, begun = 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        for number in _paced(seconds, rate):
            try:
                sock.send(frames[number % FRAMES])
            except OSError:  # the wire has no room
                continue
            sent += 1
    return {"sent": sent, "answered": 0, "seconds": time.monotonic() - begun}


def cookies(target: str, seconds: float, rate: float) -> dict[str, float]:
    """From here, with cookies."""
    first = greeting()
    sent, answered, begun = 0, 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((target, 500))
        sock.setblocking(False)
        for _ in _paced(seconds, rate):
            sock.send(asked(first))
            sent += 1
            while select.select([sock], [], [], 0)[0]:
                answer = parse_clear(sock.recv(4096))
                told = answer.notify(NotifyType.COOKIE)
                answered += any(isinstance(one, KePayload) for one in answer.payloads)
                if told is not None:
                    sock.send(asked(first, cookie=told, spi=answer.header.spi_i))
    return {"sent": sent, "answered": answered, "seconds": time.monotonic() - begun}


def main() -> None:
    """As the first lines say."""
    mode, target, seconds, rate, link = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: _ENOUGH.set())
    how = (
        forged(target, link, float(seconds), float(rate))
        if mode == "forged"
        else cookies(target, float(seconds), float(rate))
    )
    print(json.dumps(how), flush=True)


if __name__ == "__main__":
    main()
