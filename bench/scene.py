# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts to send packets from: each a network namespace of this process, with a veth pair, rules and prepared packets.

Several stand side by side, so that what is compared is measured in turn, within the same second. Packets leave through
sendmmsg(2), a thousand with one call: what is measured is the kernel. Time is that of the CPU in the sending thread,
which carries a packet to the far end of the veth pair, where it is counted and dropped, as it is for another MAC.
"""

from __future__ import annotations

import ctypes
import dataclasses
import ipaddress
import os
import random
import socket
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from bench.filters import OWN, SOURCE_PORTS, Row, generics
from xfrmd import limits
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler import Compilation
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.errors import KernelError
from xfrmd.model.plan import Plan

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x4000_0000
_MTU_DISCOVER, _ALWAYS = 10, 2
"""IP_MTU_DISCOVER and IP_PMTUDISC_DO."""
_AT_ONCE: Final = 1024
"""UIO_MAXIOV: the kernel takes no more with one call."""
_LINKS: Final = f"""
link set lo up
link add v0 type veth peer name v1
link set v0 up
link set v1 up
addr add {OWN[4]}/24 dev v0
addr add {OWN[6]}/64 dev v0 nodad
neigh add 192.168.1.9 lladdr 02:00:00:00:00:09 dev v0
neigh add fd00:5::9 lladdr 02:00:00:00:00:09 dev v0
route add default via 192.168.1.9 dev v0
route add default via fd00:5::9 dev v0
"""


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("name_length", ctypes.c_uint32), ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint32))


def new_namespace() -> None:
    """Move this thread into an empty network namespace. PermissionError without CAP_SYS_ADMIN."""
    if _LIBC.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(*command: str, text: str = "") -> None:
    """Run a program in this namespace. RuntimeError with what it said when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[:2000]}")


def without_queue(plan: Plan) -> Plan:
    """The plan for a kernel that cannot queue packets to a program: those that would be are dropped."""
    queue = f"queue num {limits.HOLD_QUEUE}"
    chains = (dataclasses.replace(c, rules=tuple(r.replace(queue, "drop") for r in c.rules)) for c in plan.nft.chains)
    return dataclasses.replace(plan, nft=dataclasses.replace(plan.nft, chains=tuple(chains)))


class Aim:
    """Packets of flows that differ: each to a filter of `rows`, drawn by lot, or past all of them."""

    def __init__(self, rows: Sequence[Row], family: int, seed: int = 1) -> None:
        self._rows, self._family = rows, family
        self._lots = random.Random(seed)

    def hits(self) -> Iterator[tuple[int, str, int]]:
        """Source port, address and port of packets that a filter matches."""
        while True:
            row = self._lots.choice(self._rows)
            remote = ipaddress.ip_network(row.remote)
            address = remote[self._lots.randrange(remote.num_addresses)]
            source = row.sports.first if row.sports.last != 65535 else self._lots.choice(SOURCE_PORTS)
            yield source, str(address), self._lots.randint(max(row.dports.first, 1), row.dports.last)

    def misses(self) -> Iterator[tuple[int, str, int]]:
        """The same of packets to addresses that no filter has."""
        while True:
            low = self._lots.getrandbits(24)
            address = (
                f"11.{low >> 16}.{low >> 8 & 255}.{low & 255}"
                if self._family == 4
                else f"fd99::{low >> 12:x}:{low & 4095:x}"
            )
            yield self._lots.choice(SOURCE_PORTS), address, self._lots.randint(1024, 65535)


def _sockaddr(address: str, port: int) -> bytes:
    if ":" in address:
        return struct.pack(
            "=HHI16sI", socket.AF_INET6, socket.htons(port), 0, socket.inet_pton(socket.AF_INET6, address), 0
        )
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(address))


class Sender:
    """Unconnected UDP sockets of the namespace that this thread is in, with prepared packets."""

    def __init__(self, family: int, packets: Iterator[tuple[int, str, int]], count: int) -> None:
        by_source: defaultdict[int, list[bytes]] = defaultdict(list)
        for source, address, port in islice(packets, count):
            by_source[source].append(_sockaddr(address, port))
        payload = b"x" * 64
        self._vector = _Vector(payload, len(payload))
        self._batches: list[tuple[socket.socket, Any, int, list[bytes]]] = []
        for source, names in by_source.items():
            made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == 4:
                # Else IPv4 packets are numbered by destination, in a table of 2 MB: many flows, many looks at memory.
                made.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _ALWAYS)
            made.bind((OWN[family], source))
            for at in range(0, len(names), _AT_ONCE):
                part = names[at : at + _AT_ONCE]
                self._batches.append((made, self._array(part), len(part), part))

    def _array(self, names: list[bytes]) -> Any:
        array = (_Message * len(names))()
        for message, name in zip(array, names, strict=True):
            header = message.header
            header.name, header.name_length = name, len(name)
            header.vectors, header.vector_count = ctypes.pointer(self._vector), 1
        return array

    def send(self) -> tuple[int, float]:
        """All packets once: how many left, and seconds of CPU. OSError when the kernel refuses."""
        total, begun = 0, time.thread_time()
        for made, array, count, _ in self._batches:
            done = 0
            while done < count:
                at = ctypes.byref(array, done * ctypes.sizeof(_Message))
                gone = _LIBC.sendmmsg(made.fileno(), at, count - done, 0)
                if gone < 0:
                    raise OSError(ctypes.get_errno(), f"sendmmsg: {os.strerror(ctypes.get_errno())}")
                done += gone
            total += count
        return total, time.thread_time() - begun


class Scene:
    """A namespace of its own. The thread is in it afterwards, until the next one is made."""

    def __init__(self) -> None:
        new_namespace()
        run("ip", "-batch", "-", text=_LINKS.strip())
        self._devices = open("/proc/thread-self/net/dev", encoding="ascii")  # noqa: SIM115, PTH123 (shows this namespace for good)
        self._loader: NftLoader | None = None
        self.senders: dict[str, Sender] = {}

    def apply(self, plan: Plan, *, table: bool = True) -> float:
        """Install a plan, or of it the XFRM policies only. Seconds it took. KernelError when it is not there then."""
        self._loader = NftLoader()
        wanted = without_queue(plan) if table else dataclasses.replace(plan, nft=NO_PLAN.nft)
        begun = time.perf_counter()
        outcome = Reconciler(Spd(), self._loader).apply(wanted)
        taken = time.perf_counter() - begun
        if outcome.degraded:
            raise KernelError("\n".join(outcome.degraded[:3]))
        return taken

    def compiled(self, rows: Sequence[Row], action: str = "permit", *, table: bool = True) -> Compilation:
        """Compile filters and install them."""
        policy, facts, filters = generics(rows, action)
        made = Compilation(policy, facts, generics=filters)
        self.apply(made.plan, table=table)
        return made

    def aim(self, name: str, family: int, packets: Iterator[tuple[int, str, int]], count: int) -> None:
        """Prepare packets."""
        self.senders[name] = Sender(family, packets, count)

    def arrived(self) -> int:
        """Packets that the far end of the veth pair has seen."""
        self._devices.seek(0)
        return next(int(line.split()[2]) for line in self._devices if line.lstrip().startswith("v1:"))

    def unmatched(self) -> int:
        """Packets that passed our table because no filter matched them."""
        assert self._loader is not None
        return self._loader.counters()["pass_out"].packets
