# SPDX-License-Identifier: GPL-2.0-or-later
"""More news of the kernel than a daemon's sockets hold while it stands still, so that what follows is lost to it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lab.netns import Host
from lab.xfrmd_host import XfrmdHost
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import policies, uapi
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.model.addresses import Prefix
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdAction, SpdEntry

ROUTE: Final = 0
"""NETLINK_ROUTE."""
MOST: Final = 60_000
"""Messages: several times what fits."""
_AT_ONCE: Final = 64
_REQID: Final = "77"
_SA: Final = (
    f"xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x4d0001 reqid {_REQID} mode tunnel "
    "aead rfc4106(gcm(aes)) 0x" + "11" * 20 + " 128"
)
_POLICY: Final = SpdEntry(
    Direction.OUT,
    Selector(Prefix.parse("192.0.2.8"), Prefix.parse("192.0.2.9")),
    SpdAction.BYPASS,
    3_000_000_000,
)


def drops(daemon: XfrmdHost, protocol: int) -> int:
    """Messages of a netlink protocol that did not fit into sockets of a daemon (/proc/net/netlink)."""
    assert daemon.process is not None
    process = Path(f"/proc/{daemon.process.pid}")
    ours = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            ours.add(str(descriptor.readlink()))
    lines = [line.split() for line in (process / "net/netlink").read_text().splitlines()[1:]]
    return sum(int(one[8]) for one in lines if int(one[1]) == protocol and f"socket:[{one[9]}]" in ours)


def _until_lost(daemon: XfrmdHost, protocol: int, more: Callable[[], object], at_once: int) -> None:
    before, sent = drops(daemon, protocol), 0
    while drops(daemon, protocol) == before:
        assert sent < MOST, f"all of {sent} messages fit"
        more()
        sent += at_once


@contextlib.contextmanager
def _asked(host: Host, kind: Msg, body: bytes) -> Iterator[Callable[[], None]]:
    """What makes a request of XFRM many times at once."""
    kernel = host.inside(lambda: netlink.open_socket(uapi.NETLINK_XFRM))
    frames = [netlink.frame(kind, 0, 1, body)] * (_AT_ONCE - 1) + [netlink.frame(kind, netlink.NLM_F_ACK, 1, body)]
    data = b"".join(frames)

    def ask() -> None:
        kernel.send(data)
        (answer,) = netlink.messages(kernel.recv(netlink.RECEIVE_SIZE))
        assert netlink.answer(answer).errno == 0

    with contextlib.closing(kernel):
        yield ask


def of_sas(daemon: XfrmdHost) -> None:
    """The soft lifetime of an SA of another program ends again and again. It is gone afterwards."""
    host = daemon.host
    host.run("ip", *_SA.split())
    kernel = host.inside(lambda: netlink.open_socket(uapi.NETLINK_XFRM))
    with contextlib.closing(kernel):
        named = uapi.SA_ID.pack(
            socket.inet_aton("192.0.2.2") + bytes(12), (0x4D0001).to_bytes(4), socket.AF_INET, socket.IPPROTO_ESP
        )
        kernel.send(netlink.frame(Msg.GETSA, 0, 1, named))
        (found,) = netlink.messages(kernel.recv(netlink.RECEIVE_SIZE))
        body = found.body[: uapi.SA.size]
    with _asked(host, Msg.EXPIRE, body + bytes(8)) as ask:
        _until_lost(daemon, uapi.NETLINK_XFRM, ask, _AT_ONCE)
    ends = "src 192.0.2.1 dst 192.0.2.2"
    host.run("ip", *f"xfrm state delete {ends} proto esp spi 0x4d0001".split())


def of_policies(daemon: XfrmdHost) -> None:
    """Another program writes a policy of its own again and again. It is gone afterwards."""
    with _asked(daemon.host, Msg.UPDPOLICY, policies.encode(_POLICY)) as ask:
        _until_lost(daemon, uapi.NETLINK_XFRM, ask, _AT_ONCE)
    host, ends = daemon.host, "src 192.0.2.8/32 dst 192.0.2.9/32"
    host.run("ip", *f"xfrm policy delete {ends} dir out".split())


def of_addresses(daemon: XfrmdHost, link: str = "eth0") -> None:
    """An address comes and goes again and again."""
    lines = f"addr add 192.0.2.77/32 dev {link}\naddr del 192.0.2.77/32 dev {link}\n" * 100
    _until_lost(daemon, ROUTE, lambda: daemon.host.run("ip", "-batch", "-", stdin=lines), 200)
