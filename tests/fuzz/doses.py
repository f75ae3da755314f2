# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs of each hostile kind whose cost is measured: broken ones, those that guided fuzzing has kept, and the heaviest
that the formats allow.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 (the first name that is not ASCII would have it loaded, at its cost)
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.conversations.plans import plan, responding
from tests.conversations.scenes import A4, B4, Pair, pair
from tests.conversations.test_engine_tunnels import tunnel
from tests.fuzz.conversing import RENEWED, Ticket
from tests.fuzz.costs import Bound, Dose
from tests.fuzz.guided import TARGETS, kept
from tests.fuzz.mutate import SEED, Mutator
from tests.fuzz.test_fuzz_certificates import CA, MIDDLE, SEEDS, broken
from tests.fuzz.test_fuzz_engine import SCENES, Target, aimed, connected, receive, seeds_for, stopped_after
from tests.fuzz.test_fuzz_inside import ESP, Insider
from tests.unit import pki
from tests.unit.pki import NOW, issue, root
from xfrmd import limits
from xfrmd.credentials import names, paths
from xfrmd.credentials.certificates import parse
from xfrmd.errors import CredentialError
from xfrmd.ike.engine import Engine
from xfrmd.ike.v2.fragments import build, datagrams
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import build_clear, content_of
from xfrmd.ike.v2.payloads import (
    Attribute,
    AuthPayload,
    CertPayload,
    CertreqPayload,
    CpAttribute,
    CpPayload,
    DeletePayload,
    IdiPayload,
    KePayload,
    NoncePayload,
    NotifyPayload,
    Payload,
    SaPayload,
    TsiPayload,
    TsrPayload,
    UnknownPayload,
    VendorPayload,
    WireProposal,
    WireTransform,
)
from xfrmd.ike.v2.traffic import TrafficSelector
from xfrmd.model.addresses import Prefix
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.selector import ANY_PORT, Ports

Doses = Callable[[], Iterator[Dose]]
BROKEN: Final = 25
"""Broken messages of each kind and state."""
EXCHANGES: Final = {"IKE_SA_INIT": (34,), "IKE_SESSION_RESUME": (38,), "other exchanges": (35, 36, 37, 43, 44, 200)}
_HEADER: Final = Header.of(b"i" * 8, b"r" * 8, 34, 0, initiator=True, response=False)
MANY: Final = [f"{n}.e" for n in range(900)]
_NONCE: Final = NoncePayload(bytes(range(32)))


def _selectors(steps: tuple[int, int], first: int, last: int) -> list[Payload]:
    """As many as there may be, each with another protocol and address by these steps."""
    ranges = [
        TrafficSelector(4, first + steps[1] * n, last, steps[0] * n % 256, ANY_PORT) for n in range(limits.PAYLOADS)
    ]
    return [TsiPayload(tuple(ranges)), TsrPayload(tuple(ranges))]


def _proposals(protocol: int, spi: bytes, rows: int, each: int) -> SaPayload:
    kinds = [WireTransform(1 + n % 5, n, (Attribute(14, 128 + n),)) for n in range(each)]
    return SaPayload(tuple(WireProposal(1 + n % 255, protocol, spi, tuple(kinds)) for n in range(rows)))


_CHILD: Final[list[Payload]] = [
    NotifyPayload(16391), SaPayload((WireProposal.of(1, 3, b"\xc0\xff\xee\x02", ESP),)), _NONCE,
]  # fmt: skip
HEAVY: Final[dict[str, list[Payload]]] = {
    "proposals": [_proposals(1, b"", 20, 40), _NONCE, KePayload(31, b"\x09" * 32)],
    "proposals of ESP": [_proposals(3, b"\xc0\xff\xee\x02", 20, 40), _NONCE],
    "proposals of one transform": [_proposals(1, b"", 250, 1), _NONCE, KePayload(31, b"\x09" * 32)],
    "notifies": [NotifyPayload(40_000 + n, bytes(200)) for n in range(limits.PAYLOADS - 1)],
    "cookies": [NotifyPayload(16390, bytes(200)) for _ in range(limits.PAYLOADS - 1)],
    "NAT detection": [NotifyPayload(16388 + n % 2, bytes(20)) for n in range(limits.PAYLOADS - 1)],
    "hash algorithms": [NotifyPayload(16431, bytes(range(256)) * 40)],
    "authorities": [CertreqPayload(4, random.Random(n).randbytes(20) * 780) for n in range(1)],
    "unknown payloads": [UnknownPayload(200, False, bytes(4)) for _ in range(1500)],
    "one long payload": [UnknownPayload(200, False, bytes(15_000))],
    "a long public value": [KePayload(14, b"\xff" * 15_000), _NONCE],
    "vendors": [VendorPayload(bytes(200)) for _ in range(limits.PAYLOADS - 1)],
    "deletions": [DeletePayload(3, tuple(n.to_bytes(4) for n in range(1000)))],
    "configuration": [CpPayload(1, tuple(CpAttribute(n % 30, b"") for n in range(3000)))],
    "selectors": [*_CHILD, *_selectors((10, 0), 0x0A000001, 0x0A0000FE)],
    "selectors of ports": [
        *_CHILD,
        *(kind(tuple(TrafficSelector(4, 0, 0xFFFFFFFF, 6, Ports(n, n)) for n in range(16)))
          for kind in (TsiPayload, TsrPayload)),
    ],
    "selectors for a tunnel": [*_CHILD[1:], *_selectors((0, 0), 0x0A000001, 0x0A0000FE)],
    "wide selectors for a tunnel": [*_CHILD[1:], *_selectors((0, 1), 0x0A000001, 0xFFFFFFFE)],
    "overlapping selectors for a tunnel": [*_CHILD[1:], *_selectors((0, 1), 0x0A000001, 0x0A0000FE)],
    "a certificate": [IdiPayload(2, b"a"), *[CertPayload(4, bytes(2000))] * 7, AuthPayload(14, bytes(500))],
}  # fmt: skip


def _datagrams(*exchanges: int) -> Iterator[Dose]:
    """Of these exchange types, in every state."""
    heavy = [build_clear(_HEADER, chain) for chain in HEAVY.values()]
    for name in SCENES:
        target = Target(name)
        mutator = Mutator(seeds_for(target.scene), SEED + exchanges[0])
        for number, data in enumerate([*heavy, *(mutator.datagram() for _ in range(BROKEN))] * len(exchanges)):
            words, exchange = target.aim(3 * number + 1), exchanges[number % len(exchanges)]
            said = aimed(data, words[:16] + bytes((exchange,)) + words[17:])[: limits.DATAGRAM_SIZE]
            yield len(said), lambda target=target, said=said: receive(target.scene, target.host, said)  # type: ignore[misc]
            if number % 16 == 15:
                target = Target(name)


def _insider(make: Callable[[], Pair], victim: int, *exchanges: int) -> Iterator[Dose]:
    """Contents under right keys."""
    insider = Insider(make, victim)
    mutator = Mutator(insider.words(response=False), SEED)
    for exchange in exchanges:
        for kind, chain in [*map(content_of, HEAVY.values()), *(mutator.chain() for _ in range(BROKEN))]:
            insider = Insider(make, victim) if insider.spent else insider
            data = insider.seal(exchange, kind, chain, response=False)
            yield len(data), lambda one=insider, data=data: one.judge(receive(one.scene, one.host, data))  # type: ignore[misc]


def _fragments() -> Iterator[Dose]:
    """Messages in as many fragments as there may be, under right keys; the last one costs what all have brought."""
    for payloads in HEAVY.values():
        insider = Insider(connected, 1)
        sa, cipher = insider.sa, insider._to_host
        header = Header.of(sa.spi_i, sa.spi_r, 37, insider.next_id, initiator=True, response=False)
        size = len(content_of(payloads)[1]) // (limits.FRAGMENTS - 4) + 100
        parts = list(datagrams(build(header, payloads, cipher, lambda: bytes(cipher.iv_len), size)))  # noqa: B023
        for number, data in enumerate([*parts[1:-1], *parts[1:-1], parts[0], parts[-1]]):
            octets = sum(map(len, parts)) if data is parts[-1] else len(data)
            yield octets, lambda one=insider, data=data: receive(one.scene, one.host, data)  # type: ignore[misc]
            spoilt = data[: 20 + number] + b"\xff" + data[21 + number :]
            yield len(data), lambda one=insider, data=spoilt: receive(one.scene, one.host, data)  # type: ignore[misc]


def unruled() -> Pair:
    """B has nothing but the default response rule."""
    scene = pair(seed=SEED)
    scene.b.engine = Engine(responding(), scene.network.entropy())
    scene.connect()
    return scene


def tunnelled() -> Pair:
    """Two gateways with a tunnel for everything, which B is asked for anything in."""
    scene = pair(seed=SEED)
    for host, own, far in ((scene.a, A4, B4), (scene.b, B4, A4)):
        host.engine = Engine(tunnel(Prefix.any(4), Prefix.any(4), own, far)(plan(own, [far])), scene.network.entropy())
    scene.connect()
    return scene


def _sealed() -> Iterator[Dose]:
    yield from _insider(lambda: stopped_after(2), 1, 35, 37)
    yield from _insider(connected, 1, 36, 37)
    yield from _insider(connected, 0, 36)
    yield from _insider(tunnelled, 1, 36)
    yield from _insider(unruled, 1, 36)


def _peers(der: bytes) -> None:
    """What is asked of a peer's certificate."""
    with suppress(CredentialError):
        found = parse(der)
        for identity in (*names.identities(found)[:1], Identity(IdType.FQDN, b"nobody")):
            names.carries(found, identity)
        paths.find([found, MIDDLE.certificate], [CA.certificate], NOW)


def _certificates() -> Iterator[Dose]:
    rng = random.Random(SEED)
    named = [issue("names", by=CA, san=MANY[:size]).der for size in (100, 400, 900)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 60) for _ in range(90)])
    seeds = [*SEEDS, *named, issue(subject, by=CA).der]
    for der in [*seeds, *(broken(rng, rng.choice(seeds)) for _ in range(5 * BROKEN)), *kept("certificate")]:
        yield len(der), partial(_peers, der)


def _paths() -> Iterator[Dose]:
    """Authorities of one name, each of which may have signed each; names and constraints, that each is to be compared
    with; broken ones.
    """
    rng, crowd = random.Random(SEED), root("Crowd")
    chains = [[issue("end", by=crowd), *(issue("Crowd", by=crowd, ca=True) for _ in range(limits.CERTIFICATES - 1))]]
    for size in (20, 400):
        trees = x509.NameConstraints([x509.DNSName(one) for one in MANY[:size]], None)
        middle = issue("Constrained", by=CA, ca=True, more=[(trees, True)])
        chains += [[issue("end", by=middle, san=MANY[:size:order]), middle] for order in (1, -1)]
    for chain in chains:
        for spoilt in (False, *[True] * BROKEN):
            ders = [broken(rng, one.der) if spoilt and not rng.getrandbits(2) else one.der for one in chain]
            yield sum(map(len, ders)), partial(_chain, ders)


def _chain(ders: list[bytes]) -> None:
    with suppress(CredentialError):
        paths.find([parse(one) for one in ders], [CA.certificate], NOW)


def _revocation() -> Iterator[Dose]:
    rng, ca = random.Random(SEED), root()
    hosts = [issue(f"r{n}", by=ca) for n in range(20)]
    crl = x509.load_pem_x509_crl(pki.crl(ca, *hosts * 150)).public_bytes(Encoding.DER)
    answer = pki.answered(ca, hosts[0], by=issue("OCSP", by=ca, purposes=[ExtendedKeyUsageOID.OCSP_SIGNING]))
    for kind, seed in (("crl", crl), ("ocsp", answer)):
        check = TARGETS[kind]()
        for der in [seed, *(broken(rng, seed) for _ in range(BROKEN)), *kept(kind)]:
            yield len(der), lambda der=der, check=check: check(der)  # type: ignore[misc]


def _tickets() -> Iterator[Dose]:
    """What is shown to us: tickets of ours, and others."""
    tickets = Ticket()
    for content in (*kept("ticket"), random.Random(SEED).randbytes(900)):
        for octets in (tickets.of(content), content):
            yield len(octets), partial(tickets.tickets.open, octets)
    for size in (limits.TICKET_GIVEN, limits.TICKET_GIVEN + 1, 16_000):
        yield size, partial(tickets.tickets.open, bytes(size))


def _target(*names: str, heavy: tuple[bytes, ...] = ()) -> Doses:
    """Of a target of guided fuzzing: what it has kept, and what is heavy."""

    def doses() -> Iterator[Dose]:
        for name in names:
            for number, data in enumerate((*kept(name), *heavy)):
                if number % (RENEWED - 1) == 0:  # before it sets its scene anew by itself: no input costs that
                    check = TARGETS[name]()
                yield len(data), lambda data=data, check=check: check(data)  # type: ignore[misc]

    return doses


NETLINK: Final = (
    struct.pack("=IHHII", 16, 0x17, 0, 0, 0) * 4000,
    struct.pack("=IHHII", 65_552, 0x17, 0, 0, 0) + bytes(65_536),
    struct.pack("=IHHII", 65_552, 0x10, 0, 0, 0) + bytes(280) + b"\4\0\1\0" * 16_314,
    struct.pack("=IHHII", 65_552, 0x300, 0, 0, 0) + bytes(4) + b"\4\0\1\0" * 16_383,
)
JSON: Final = (
    b"[" * 100_000, b"[" + b"[]," * 50_000 + b"[]]", b"[" + b"{}," * 50_000 + b"{}]",
    b'{"schema":1,"command":"plan","arguments":{' + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}}",
    b'{"schema":1,"command":"explain","arguments":{"src":"' + b"a" * 100_000 + b'"}}',
    b"1" * 100_000, b'"' + b"\\ud800" * 20_000 + b'"',
)  # fmt: skip
SAVED: Final = (b'["lineage",' + JSON[1] + b"]", b'["lineage",{"children":' + JSON[2] + b"}]", *JSON)

CHAINS: Final = tuple(bytes((0, kind)) + chain for kind, chain in map(content_of, HEAVY.values()))
_OK: Final = b"HTTP/1.1 200 OK\r\n"
ANSWERS: Final = (
    _OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000,
    _OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 20_000,
    _OK + b"A: b\r\n" * 1300 + b"\r\n", _OK + b"A:" + b" " * 8000 + b"\r\n\r\n", _OK + b"\r\n" + bytes(200_000),
)  # fmt: skip
_ROW: Final = b'["' + b"11" * 20 + b'","' + b"22" * 16 + b'","2030-05-31T00:00:00+00:00","2031-06-01T00:00:00+00:00"]'
NAMED: Final = b"version: 0\nfilterlists:\n  - name: a\n    filters:\n"
POLICIES: Final = (
    b"version: 0\n" + b"".join(b"k%d: 0\n" % n for n in range(2000)),
    b"version: 0\n" + b"k: 0\n" * 2000,
    NAMED + b"".join(b"    - {sr%d: any, ds: me}\n" % n for n in range(1000)),
    NAMED + b"".join(b"    - {srcaddr: n%d.e, dstaddr: me}\n" % n for n in range(1000)),
    NAMED + b"    - {srcaddr: me, dstaddr: " + "\u00e4".encode() * 20_000 + b"}\n",
    NAMED + b"    - {srcaddr: me, dstaddr: [" + b"10.0.0.0/8, ${a}," * 1000 + b"]}\n",
    b"variables: {a: " + b"[" * 5000 + b"]" * 5000 + b"}\n",
    b"variables: {a: &a [b], " + b"".join(b"a%d: [*a, *a]," % n for n in range(1000)) + b"}\n",
)  # fmt: skip
REVOKED: Final = (b'{"schema":1,"revoked":[' + b",".join([_ROW] * 1000) + b"]}", *JSON)

_PLAIN: Final = Bound(3000, 5, 64 * 1024, 32)
_KEYED: Final = Bound(50_000, 5, 192 * 1024, 32)
_WORDS: Final = _PLAIN._replace(calls_each=30, memory_each=80)
KINDS: Final[dict[str, tuple[Doses, Bound]]] = {
    **{f"{name} in the clear": (partial(_datagrams, *types), _PLAIN) for name, types in EXCHANGES.items()},
    "fragments": (_fragments, _PLAIN),
    "contents under right keys": (_sealed, _KEYED),
    "certificates": (_certificates, _PLAIN),
    "chains of certificates": (_paths, _PLAIN._replace(calls=50_000)),
    "lists and answers of revocation": (_revocation, _PLAIN),
    "control requests": (_target("control", heavy=JSON), _PLAIN),
    "netlink": (_target("kernel", heavy=NETLINK), _PLAIN),
    "queued packets": (_target("packet", heavy=(b"\x60" + bytes(5) + b"\0" + bytes(65_000),)), _PLAIN),
    "tickets": (_tickets, _PLAIN),
    "resumption, addresses, gateways": (_target("resume", "moving", "redirect", heavy=CHAINS), _KEYED),
    "answers of web servers": (_target("answer", heavy=ANSWERS), _PLAIN),
    "policies that are kept": (_target("package", "policy", heavy=POLICIES), _WORDS),
    "files of the state directory": (_target("revoked", "secrets", "saved", heavy=REVOKED), _PLAIN),
    "saved SAs": (_target("state", heavy=SAVED), _PLAIN._replace(calls=6000)),
}
