# SPDX-License-Identifier: GPL-2.0-or-later
"""Names asked of a real DNS server in a namespace of its own, over the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from lab.dnsmasq import MISSING, dnsmasq
from lab.netns import Host, namespaces
from xfrmd import limits
from xfrmd.adapters.facts import Places, gather
from xfrmd.adapters.names.dns import ask
from xfrmd.adapters.names.table import Answered, Failed, Half

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)"),
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "dnsmasq"),
]
MANY = limits.NAME_ADDRESSES * 3
CHAIN = 20
CONFIG = f"""\
listen-address=127.0.0.1
local-ttl=77
host-record=both.example,10.1.0.9,fd00::9
host-record=v4.example,10.1.0.9
cname=alias.example,both.example
{"".join(f"host-record=many.example,10.1.{n // 250}.{n % 250 + 1}{chr(10)}" for n in range(MANY))}
{"".join(f"cname=c{n}.example,c{n + 1}.example{chr(10)}" for n in range(CHAIN))}
host-record=c{CHAIN}.example,10.1.0.9
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with namespaces("names") as (made,):
        made.run("ip", "link", "set", "lo", "up")
        with dnsmasq(made, CONFIG):
            yield made


def asked(host: Host, name: str, *servers: str) -> tuple[Half, Half]:
    return host.inside(lambda: asyncio.run(ask(name, servers or ("127.0.0.1",))))


def shown(half: Half) -> list[str]:
    assert isinstance(half, Answered), half
    return [str(address) for address in half.addresses]


def test_both_ip_versions_and_the_ttl_are_answered(host: Host) -> None:
    v4, v6 = asked(host, "both.example")
    assert (shown(v4), shown(v6)) == (["10.1.0.9"], ["fd00::9"])
    assert isinstance(v4, Answered)
    assert 70 < v4.ttl <= 77


def test_a_name_without_addresses_of_an_ip_version(host: Host) -> None:
    v4, v6 = asked(host, "v4.example")
    assert (shown(v4), v6) == (["10.1.0.9"], Answered((), 300))


def test_a_name_that_is_not_there_is_an_answer_of_none(host: Host) -> None:
    assert asked(host, "none.example") == (Answered((), 300), Answered((), 300)), (
        "what dnspython takes where the server does not say"
    )


def test_an_alias_is_followed_but_not_a_long_chain_of_them(host: Host) -> None:
    assert shown(asked(host, "alias.example")[0]) == ["10.1.0.9"]
    v4, _ = asked(host, "c0.example")
    assert not isinstance(v4, Answered) or v4.addresses == ()


def test_an_answer_that_does_not_fit_a_datagram_is_asked_for_over_tcp(host: Host) -> None:
    assert len(shown(asked(host, "many.example")[0])) == MANY


def test_a_server_that_does_not_answer_gives_way_to_the_next(host: Host) -> None:
    host.run("ip", "addr", "replace", "127.0.0.9/8", "dev", "lo")
    assert shown(asked(host, "both.example", "127.0.0.9", "127.0.0.1")[0]) == ["10.1.0.9"]


def test_servers_that_cannot_be_reached_are_a_failure(host: Host) -> None:
    for server in ("192.0.2.1", "fe80::1%lo", "not an address"):
        assert all(isinstance(half, Failed) for half in asked(host, "both.example", server)), server


def test_commands_without_a_daemon_ask_for_the_names_of_their_policies(host: Host, tmp_path: Path) -> None:
    places = Places(tmp_path / "resolv.conf")
    places.resolv_conf.write_text("nameserver 127.0.0.1\n")
    found = host.inside(lambda: gather(places, frozenset({"both.example", "none.example"}), strict=True))
    assert {name: [*map(str, addresses)] for name, addresses in found.names.items()} == {
        "both.example": ["10.1.0.9", "fd00::9"]
    }


@contextlib.contextmanager
def server(host: Host, answers: Callable[[bytes], Iterable[bytes]]) -> Iterator[str]:
    """A server of our own that sends what `answers` makes of a question; its address."""
    address = "127.0.0.17"
    ours = host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def serve() -> None:
        while True:
            question, peer = ours.recvfrom(2048)
            if not question:
                return
            for answer in answers(question):
                ours.sendto(answer, peer)

    with ours:
        ours.bind((address, 53))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield address
        finally:
            ours.sendto(b"", (address, 53))
            thread.join()


def response(question: bytes, *records: str, authority: str = "") -> bytes:
    asked = dns.message.from_wire(question)
    made = dns.message.make_response(asked)
    name = asked.question[0].name
    for text in records:
        ttl, kind, data = text.split(" ", 2)
        if kind == dns.rdatatype.to_text(asked.question[0].rdtype) or kind == "CNAME":
            made.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    if authority:
        made.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", authority))
    return made.to_wire()


def test_how_long_there_is_no_address_is_what_the_zone_says(host: Host) -> None:
    soa = "ns.example. root.example. 1 3600 600 86400 40"
    with server(host, lambda question: [response(question, authority=soa)]) as said:
        assert asked(host, "none.example", said) == (Answered((), 40), Answered((), 40))


def test_datagrams_that_fit_no_question_are_passed_over(host: Host) -> None:
    def answers(question: bytes) -> list[bytes]:
        right = response(question, "60 A 10.1.0.9")
        forged = response(question, "60 A 10.6.6.6")
        other = dns.message.make_query("other.example", "A", id=int.from_bytes(question[:2])).to_wire()
        damaged = right[:2] + b"\xff" * 40
        return [bytes([right[0] ^ 1]) + forged[1:], response(other, "60 A 10.6.6.6"), b"", b"\0", damaged, right]

    with server(host, answers) as address:
        v4, _ = asked(host, "both.example", address)
    assert shown(v4) == ["10.1.0.9"]


def test_an_alias_of_itself_is_a_failure(host: Host) -> None:
    with server(host, lambda question: [response(question, "60 CNAME loop.example.")]) as address:
        v4, v6 = asked(host, "loop.example", address)
    assert not any(isinstance(half, Answered) and half.addresses for half in (v4, v6))


def test_noise_for_an_answer_is_a_failure(host: Host) -> None:
    with server(host, lambda question: [question[:2] + bytes(range(200)), bytes(600), question]) as address:
        assert [type(half) for half in asked(host, "both.example", address)] == [Failed, Failed]
