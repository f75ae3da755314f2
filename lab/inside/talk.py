# SPDX-License-Identifier: GPL-2.0-or-later
"""A program of the booting host that talks from its first moment to its last: one datagram a TICK to each service
outside, and an echo for each.

Its log: `S port family number time` sent, `R` the answer came, `A port family 0 time` an attacker's datagram came in.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from pathlib import Path

TICK = 0.02
FLUSHED = 0.1
SO_TIMESTAMPNS = 35
PORTS = (5001, 6001, 7001)
PEERS = {4: (socket.AF_INET, "10.9.0.1"), 6: (socket.AF_INET6, "fd09::1")}


def main() -> None:
    log = Path("/lab/share/talk.log").open("a")  # noqa: SIM115 (for as long as the host is up)
    waiting = selectors.DefaultSelector()
    flows = []
    for port in PORTS:
        for version, (family, address) in PEERS.items():
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind(("", port))
            sock.setblocking(False)
            flows.append((sock, port, version, address))
            waiting.register(sock, selectors.EVENT_READ, (sock, port, version))
    # No number is used twice, whatever the boot: an answer in one is none to what was sent in another.
    number, due, flush = int(time.time()) * 1000, time.monotonic(), 0.0
    while True:
        for key, _ in waiting.select(max(0.0, due - time.monotonic())):
            sock, port, version = key.data
            with contextlib.suppress(OSError):
                data, control, _, sender = sock.recvmsg(2048, 64)
                if data.startswith(b"attack"):
                    # When it came in, which on a busy host is not when we read it.
                    seconds, nanoseconds = struct.unpack("qq", control[0][2])
                    log.write(f"A {port} {version} 0 {seconds + nanoseconds / 1e9:.4f}\n")
                    sock.sendto(data, sender)
                else:
                    log.write(f"R {port} {version} {data.decode()} {time.time():.4f}\n")
        if time.monotonic() >= due:
            due = max(due + TICK, time.monotonic())
            number += 1
            for sock, port, version, address in flows:
                try:
                    log.write(f"S {port} {version} {number} {time.time():.4f}\n")
                    sock.sendto(str(number).encode(), (address, port))
                except OSError as error:
                    log.write(f"E {port} {version} {number} {time.time():.4f} {error.strerror}\n")
        if time.monotonic() >= flush:
            flush = time.monotonic() + FLUSHED
            log.flush()


main()
