# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of leaks share: a pair of daemons whose logs must be clean at the end, and policies put in force."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator

from lab.netns import Host
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import e2e
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.uapi import Msg

BLOCK_ALL = e2e.policy(action="action: block").replace(f'    qmsecmethods: ["{e2e.QM}"]\n', "", 1)
"""Every packet of the host's own is blocked."""
MORE = e2e.policy(
    more_lists=(
        "  - name: telnet\n    filters: [{srcaddr: any, dstaddr: me, protocol: tcp, dstport: 23}]\n"
        "  - name: notes\n    filters: [{srcaddr: me, dstaddr: any, protocol: udp, dstport: 9}]\n"
    ),
    more_rules=(
        "      - {name: no telnet, filterlist: telnet, filteraction: block}\n"
        "      - {name: notes in clear, filterlist: notes, filteraction: permit}\n"
    ),
)
"""`e2e.policy()` with two filters more: none of them speaks of the traffic of these tests."""


@contextlib.contextmanager
def daemons(*hosts: Host, policy: str | None = None) -> Iterator[list[XfrmdHost]]:
    """A daemon in each host with the same policy and secret. At the end nothing unexpected stands in their logs."""
    with contextlib.ExitStack() as stack:
        text = e2e.policy() if policy is None else policy
        made = [stack.enter_context(xfrmd(host, text, secret=e2e.SECRET)) for host in hosts]
        yield made
    for daemon in made:
        assert_clean(daemon)


def assert_clean(daemon: XfrmdHost) -> None:
    """No traceback, and no fault that the daemon has survived."""
    for sign in ("Traceback", "internal-error"):
        assert sign not in daemon.log, daemon.log


def put(text: str, *daemons: XfrmdHost) -> None:
    """Put a policy in force; `{psk}` stands for the daemon's own secret file. ControlError when it is refused."""
    for daemon in daemons:
        text_there = text.replace("{psk}", str(daemon.directory / "psk"))
        daemon.ask("apply", {"text": text_there, "file": "policy.yaml", "allow_lockout": True})


@contextlib.contextmanager
def frozen(daemon: XfrmdHost) -> Iterator[None]:
    """The daemon stands still, as if its machine were too busy for it; the kernel's SAs go on."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def expire_sas(host: Host) -> int:
    """End the hard lifetime of every SA of a host now; how many there were."""

    def expire() -> int:
        with contextlib.closing(netlink.open_socket(uapi.NETLINK_XFRM)) as kernel:
            kernel.send(netlink.frame(Msg.GETSA, netlink.NLM_F_DUMP, 1, b""))
            found = []
            while (last := [*netlink.messages(kernel.recv(netlink.RECEIVE_SIZE))]) and last[-1].type != 3:
                found += [message.body[: uapi.SA.size] for message in last]
            for body in found:
                kernel.send(netlink.frame(Msg.EXPIRE, netlink.NLM_F_ACK, 2, body + b"\x01" + bytes(7)))
                (answer,) = netlink.messages(kernel.recv(netlink.RECEIVE_SIZE))
                assert netlink.answer(answer).errno == 0
        return len(found)

    return host.inside(expire)


def udp_socket(host: Host, address: str = "") -> socket.socket:
    """An IPv4 UDP socket in a host; for IPv6 give an address to bind it to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = host.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
    made.bind((address, 0))
    return made
