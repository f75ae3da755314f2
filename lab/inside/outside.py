# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies outside of a booting host: a recorder of every packet, an attacker, an echo, and a peer with IPsec.

It runs in a network namespace of the guest's kernel from before systemd on. The attacker sends whole frames, some of
them in the peer's name, every TICK seconds; the echo returns datagrams.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import time
from pathlib import Path

SHARE = Path("/lab/share")
SETTINGS = json.loads((SHARE / "settings.json").read_text())
TICK = 0.02
HERE_MAC, HOST_MAC = bytes.fromhex("02000000000b"), bytes.fromhex("02000000000a")
PEER, STRANGER, HOST = "10.9.0.1", "10.9.0.9", "10.9.0.2"
PEER6, STRANGER6, HOST6 = "fd09::1", "fd09::9", "fd09::2"
BATCH = f"""\
link add out0 address 02:00:00:00:00:0b type veth peer name eth0 address 02:00:00:00:00:0a netns 1
link set lo up
link set out0 up
address add {PEER}/24 dev out0
address add {STRANGER}/24 dev out0
address add {PEER6}/64 dev out0 nodad
address add {STRANGER6}/64 dev out0 nodad
neigh replace {HOST} lladdr 02:00:00:00:00:0a dev out0 nud permanent
neigh replace {HOST6} lladdr 02:00:00:00:00:0a dev out0 nud permanent
"""


def checksum(data: bytes) -> int:
    """The checksum of the Internet protocols (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(source: str, protocol: int, content: bytes, checked_at: int) -> bytes:
    """A frame with an IP packet from `source` to the host; the upper checksum goes where `checked_at` says."""
    four = "." in source
    family, host = (socket.AF_INET, HOST) if four else (socket.AF_INET6, HOST6)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, host)
    pseudo = b"" if protocol == 1 else ends + struct.pack("!II", len(content), protocol)
    proof = struct.pack("!H", checksum(pseudo + content))
    content = content[:checked_at] + proof + content[checked_at + 2 :]
    if four:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0x4000, 64, protocol, 0) + ends
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    else:
        head = struct.pack("!IHBB", 6 << 28, len(content), protocol, 64) + ends
    return HOST_MAC + HERE_MAC + struct.pack("!H", 0x0800 if four else 0x86DD) + head + content


def attacks() -> list[bytes]:
    """One frame of each kind: echo requests, SYNs to a closed port, datagrams to each service; by a stranger and, for
    the protected service, in the name of the peer.
    """
    made = []
    for stranger, peer in ((STRANGER, PEER), (STRANGER6, PEER6)):
        number, kind = (1, 8) if stranger == STRANGER else (58, 128)
        made.append(frame(stranger, number, struct.pack("!BBHHH", kind, 0, 0, 7, 7) + b"attack", 2))
        syn = struct.pack("!HHIIBBHHH", 40000, 23, 1, 0, 0x50, 2, 1024, 0, 0)
        made.append(frame(stranger, 6, syn, 16))
        for source, port in ((stranger, 5001), (peer, 6001), (stranger, 7001)):
            made.append(frame(source, 17, struct.pack("!HHHH", port, port, 14, 0) + b"attack", 6))
    return made


def record() -> None:
    """Start the recorder, a file for each boot, and return when it records."""
    number = len(list(SHARE.glob("outside-*.pcap")))
    with (SHARE / "outside.tcpdump").open("w") as said:
        subprocess.Popen(
            [
                "@tcpdump",
                "-i",
                "out0",
                "-n",
                "--immediate-mode",
                "-U",
                "-Z",
                "root",
                "-B",
                "16384",
                "-w",
                str(SHARE / f"outside-{number}.pcap"),
            ],
            executable="/usr/bin/tcpdump",
            stderr=said,
        )
    while "listening on" not in (SHARE / "outside.tcpdump").read_text():
        time.sleep(0.01)


def peer() -> None:
    """The peer's daemon, with modules of its own, so that an upgrade of the host's is no matter to it."""
    program = "import sys; sys.path.insert(0, '/lab/share/peer'); from xfrmd.cli.xfrmd import main; sys.exit(main())"
    os.environ["STATE_DIRECTORY"] = "/run/outside-peer"
    Path("/run/outside-peer").mkdir()
    subprocess.Popen(
        [
            "@peer",
            "-I",
            "-c",
            program,
            "run",
            "--policy",
            "/lab/share/peer.yaml",
            "--control",
            "/run/outside-peer/control",
        ],
        executable="/usr/bin/python3",
    )


def main() -> None:
    subprocess.run(["ip", "-batch", "-"], input=BATCH, text=True, check=True)
    record()
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind(("out0", 0))
    waiting = selectors.DefaultSelector()
    for port in (5001, 6001, 7001):
        for address in (PEER, PEER6):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, port))
            sock.setblocking(False)
            waiting.register(sock, selectors.EVENT_READ, sock)
    Path("/run/outside-ready").touch()
    if SETTINGS["peer"]:
        peer()
    frames, due = attacks(), time.monotonic()
    while True:
        for key, _ in waiting.select(max(0.0, due - time.monotonic())):
            try:
                data, sender_address = key.data.recvfrom(2048)
                if not data.startswith(b"attack"):
                    key.data.sendto(data, sender_address)
            except OSError:
                continue  # an ICMP error of an earlier answer
        if time.monotonic() >= due:
            due = max(due + TICK, time.monotonic())
            for one in frames:
                try:
                    sender.send(one)
                except OSError:
                    break  # the host's end is not up yet


main()
