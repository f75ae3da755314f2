# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compiler writes is what the kernel takes: loaded, listed, equal; and real packets meet their verdict."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.netns import Host, ip_batch
from tests.unit.compiler_cases import HOST, facts, one, policy, rule
from tests.worlds.engines import ALWAYS
from xfrmd import limits
from xfrmd.adapters.nft_listing import differences, parse
from xfrmd.compiler import compile_policy
from xfrmd.compiler.nft_text import render
from xfrmd.compiler.runs import WORTH, Worth
from xfrmd.model.nft import NftTable
from xfrmd.policy.words import Config, PolicySet

pytestmark = pytest.mark.kernel

POLICIES = {
    "no filter": policy(),
    "only permit and block": policy(
        rule("block", one("any", "me"), one("any", "any", "udp", dport="1000-1999", mirrored=False)),
        rule("permit", one("me", "any", "icmp"), one("10.1.0.0/16", "me", "icmp", sport=8), line=2),
    ),
    "negotiate": policy(
        rule("negotiate", one("me", "any"), one("any", "any", "tcp", dport="80,443")),
        rule("negotiate", one("me", "10.1.0.0/16", "udp"), line=2, inpass=True),
        rule("permit", one("any", "any", "icmpv6", sport="128-129"), one("any", "any"), line=3),
        rule("block", one("10.1.2.3,10.1.2.4/30", "fd00::/8,10.1.0.5", "tcp", sport=7), line=4),
    ),
}  # fmt: skip


def run(namespace: str, *command: str, text: str = "") -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *command], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    name = f"xfrmd-nft-{threading.get_native_id()}"
    if os.geteuid() != 0:
        pytest.skip("making a network namespace needs root")
    ip_batch([f"netns add {name}"])
    yield name
    ip_batch([f"netns del {name}"])


def loadable(table: NftTable, namespace: str) -> NftTable:
    """The table as this kernel can take it: some kernels are built without nfqueue, there the queue becomes a drop."""
    probe = "add table inet probe; add chain inet probe c; add rule inet probe c queue num 1; delete table inet probe"
    tried = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-f", "-"],
        input=probe.replace("; ", "\n"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode == 0:
        return table
    queue = f"queue num {limits.HOLD_QUEUE}"
    chains = (replace(c, rules=tuple(r.replace(queue, "drop") for r in c.rules)) for c in table.chains)
    return replace(table, chains=tuple(chains))


WORTHS = pytest.mark.parametrize("worth", [WORTH, ALWAYS], ids=["maps alone", "sets ahead of maps"])


@WORTHS
@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_the_kernel_lists_what_was_compiled(name: str, level: int, worth: Worth, namespace: str) -> None:
    policies = replace(POLICIES[name], config=Config(level))
    table = loadable(compile_policy(policies, HOST, worth=worth).nft, namespace)
    for _ in range(2):  # the second time the table is there already
        run(namespace, "nft", "-f", "-", text=render(table))
        listing = run(namespace, "nft", "-s", "-p", "-y", "list", "table", "inet", limits.NFT_TABLE)
        assert differences(table, parse(listing)) == ()


def test_a_changed_element_shows(namespace: str) -> None:
    table = loadable(compile_policy(POLICIES["negotiate"], HOST).nft, namespace)
    run(namespace, "nft", "-f", "-", text=render(table))
    name = table.maps[0].name
    run(namespace, "nft", "flush", "map", "inet", limits.NFT_TABLE, name)
    listing = run(namespace, "nft", "-s", "-p", "-y", "list", "table", "inet", limits.NFT_TABLE)
    assert any(name in text for text in differences(table, parse(listing)))


NEAR = facts("10.1.0.5/24", "fd00:1::5/64")


@pytest.fixture
def pair(namespace: str) -> Iterator[tuple[str, str]]:
    """Our host's namespace and, behind a link, another one's."""
    far = f"{namespace}-far"
    ip_batch([f"netns add {far}"])
    run(namespace, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", far)
    for name, addresses in ((namespace, ("10.1.0.5/24", "fd00:1::5/64")), (far, ("10.1.0.9/24", "fd00:1::9/64"))):
        run(name, "ip", "link", "set", "lo", "up")
        run(name, "ip", "link", "set", "eth0", "up")
        for address in addresses:
            run(name, "ip", "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
    yield namespace, far
    ip_batch([f"netns del {far}"])


def udp(name: str, family: int, bound: tuple[str, int]) -> socket.socket:
    """A UDP socket in a namespace."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    made = Host(name).inside(lambda: socket.socket(kind, socket.SOCK_DGRAM))
    made.bind(bound)
    made.settimeout(2)
    return made


def arrives(sender: socket.socket, receiver: socket.socket, to: tuple[str, int]) -> bool:
    """Does a datagram get through before the receiver's patience ends?"""
    try:
        sender.sendto(b"x", to)
    except PermissionError:  # dropped on its way out
        return False
    try:
        return receiver.recv(16) == b"x"
    except TimeoutError:
        return False


CASES: tuple[tuple[str, PolicySet, bool], ...] = (
    ("no filter", policy(), True),
    ("a block of the port", policy(rule("block", one("any", "me", "udp", dport=7000, mirrored=False))), False),
    ("a block of another port", policy(rule("block", one("any", "me", "udp", dport=7001, mirrored=False))), True),
    ("a block of its range", policy(rule("block", one("any", "me", "udp", dport="6990-7010"))), False),
    ("a block beside its range", policy(rule("block", one("any", "me", "udp", dport="7001-7010"))), True),
    ("a block of all", policy(rule("block", one("any", "any"))), False),
    (
        "a narrower permit",
        policy(rule("block", one("any", "any")), rule("permit", one("any", "me", "udp", dport=7000), line=2)),
        True,
    ),
    ("negotiate", policy(rule("negotiate", one("any", "me", "udp", dport=7000))), False),
    ("inpass", policy(rule("negotiate", one("any", "me", "udp", dport=7000), inpass=True)), True),
    (
        "a permit inside negotiate",
        policy(rule("negotiate", one("any", "me")), rule("permit", one("any", "me", "udp", dport=7000), line=2)),
        True,
    ),
)


@WORTHS
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("policies", "passes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_inbound_datagram(
    pair: tuple[str, str], policies: PolicySet, passes: bool, family: int, worth: Worth
) -> None:
    ours, theirs = ("10.1.0.5", "10.1.0.9") if family == 4 else ("fd00:1::5", "fd00:1::9")
    near, far = pair
    run(near, "nft", "-f", "-", text=render(loadable(compile_policy(policies, NEAR, worth=worth).nft, near)))
    with udp(near, family, (ours, 7000)) as receiver, udp(far, family, (theirs, 7100)) as sender:
        if not passes:
            receiver.settimeout(0.3)
        assert arrives(sender, receiver, (ours, 7000)) is passes


@pytest.mark.parametrize("family", [4, 6])
def test_outbound_blocks_and_ike(pair: tuple[str, str], family: int) -> None:
    ours, theirs = ("10.1.0.5", "10.1.0.9") if family == 4 else ("fd00:1::5", "fd00:1::9")
    near, far = pair
    block = policy(rule("block", one("any", "any")))
    run(near, "nft", "-f", "-", text=render(compile_policy(block, NEAR).nft))
    with (
        udp(near, family, (ours, 500)) as ike,
        udp(near, family, (ours, 7000)) as other,
        udp(far, family, (theirs, 7100)) as receiver,
    ):
        assert arrives(ike, receiver, (theirs, 7100))  # neighbour discovery works too, or this would not
        assert arrives(receiver, ike, (ours, 500))
        receiver.settimeout(0.3)
        assert not arrives(other, receiver, (theirs, 7100))
