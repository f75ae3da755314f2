# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken datagrams against the codecs. The invariant: octets are a message or the peer's error, nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.fuzz.mutate import COUNT, SEED, Mutator, corpus
from tests.fuzz.recording import chosen, opened, shape
from tests.unit.toy_cipher import ToyCipher
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike.v2.cardinality import form_of
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import Message, build_clear, content_of, open_sealed, parse_clear
from xfrmd.ike.v2.payloads import CertreqPayload, IdPayload, NotifyPayload, Payload, SaPayload, TsiPayload, TsrPayload
from xfrmd.ike.v2.traffic import to_selectors
from xfrmd.wire.writer import Writer

SEEDS = corpus()
HEADER = Header.of(b"\x11" * 8, b"\x22" * 8, 36, 2, initiator=True, response=False)
IV = bytes(8)


def use(message: Message) -> None:
    """Everything that is asked of a message before anything is known of its sender."""
    for payload in message.payloads:
        if isinstance(payload, SaPayload):
            assert all(proposal.understood is not None for proposal in payload.proposals)
        elif isinstance(payload, IdPayload):
            assert str(payload.identity).isprintable()
            assert payload.body[4:] == payload.data
        elif isinstance(payload, CertreqPayload):
            assert all(len(one) == 20 for one in payload.key_hashes)
    tsi, tsr = message.first(TsiPayload), message.first(TsrPayload)
    if tsi and tsr:
        assert all(str(selector) for selector in to_selectors(tsi.ranges, tsr.ranges))
    form_of(message)


def survives(data: bytes) -> bool:
    """Is it a message? Then it must read the same once written again."""
    try:
        message = parse_clear(data)
        if message.encrypted is None:
            octets = build_clear(message.header, message.payloads)
            assert len(octets) == len(data)
            assert parse_clear(octets).payloads == message.payloads
        use(message)
    except RemoteProtocolError as error:
        assert 0 <= error.notify < 16384  # noqa: PT017 (the family is the assertion)
        return False
    return True


def reads(data: bytes) -> bool:
    """Do the codecs take it, whatever message it may be?"""
    try:
        parse_clear(data)
    except RemoteProtocolError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_the_corpus_holds(name: str) -> None:
    survives(SEEDS[name])
    for size in range(len(SEEDS[name])):
        survives(SEEDS[name][:size])


def test_the_corpus_is_worth_mutating() -> None:
    """Most seeds are good messages: broken ones made of them reach deep."""
    good = [name for name, data in SEEDS.items() if reads(data)]
    assert len(good) >= 18
    parts = [part for data in SEEDS.values() for _, chain in Mutator([data])._seeds for part in chain]
    assert {kind for kind, _, _ in parts} >= {*range(33, 49), 53}


def test_what_real_peers_said_is_read_each_in_a_shape_of_its_own() -> None:
    recorded = {name: data for name, data in SEEDS.items() if "recorded" in name}
    assert {data[18] for data in recorded.values()} == {34, 35, 36, 37}
    assert [name for name, data in recorded.items() if not reads(data)] == []
    assert len({shape(data) for data in recorded.values()}) == len(recorded) > 40
    twice = [*recorded.values(), *recorded.values()]
    assert sorted(chosen(twice, [])) == sorted(recorded.values())
    assert chosen(twice, recorded.values()) == []


def test_content_is_kept_as_the_message_that_it_would_be_in_the_clear() -> None:
    chain: list[Payload] = [NotifyPayload(NotifyType.INITIAL_CONTACT), CertreqPayload(4, bytes(20))]
    data = opened(sealed(*content_of(chain), b"\0", ToyCipher())[:28], *content_of(chain))
    assert parse_clear(data).payloads == tuple(chain)


def test_broken_datagrams_are_refused_or_read(capsys: pytest.CaptureFixture[str]) -> None:
    mutator, count = Mutator(SEEDS.values()), COUNT // 10
    good = 0
    for number in range(count):
        data = mutator.datagram()
        try:
            good += survives(data) if number % 8 == 0 else look(data)
        except Exception as error:  # noqa: BLE001 (the test says which datagram it was)
            pytest.fail(f"seed {SEED}, datagram {number}: {error!r}\n{data.hex()}")
    with capsys.disabled():
        print(f"\n  fuzz: {count} datagrams, seed {SEED}: {good} were messages, none did harm")
    assert count < 1000 or 0.05 < good / count < 0.95, "the mutator is too tame or too wild"


def look(data: bytes) -> bool:
    """The quick way of a datagram through the codec."""
    try:
        message = parse_clear(data)
    except RemoteProtocolError:
        return False
    with suppress(RemoteProtocolError):
        use(message)
    return True


def sealed(kind: int, chain: bytes, padding: bytes, cipher: ToyCipher) -> bytes:
    """A message whose encryption is right and whose content may be anything."""
    size = 32 + cipher.iv_len + len(chain) + len(padding) + cipher.icv_len
    writer = Writer()
    writer.put(build_clear(HEADER, [])[:16] + b"\x2e" + build_clear(HEADER, [])[17:24])
    writer.u32(size)
    writer.put(bytes((kind, 0)) + (size - 28 & 0xFFFF).to_bytes(2))
    head = writer.octets()
    return head + IV + cipher.seal(IV, chain + padding, head)


def test_broken_contents_of_authentic_messages_are_refused_or_read(capsys: pytest.CaptureFixture[str]) -> None:
    mutator, cipher, count = Mutator(SEEDS.values(), SEED + 1), ToyCipher(), COUNT // 10
    paddings = [b"\0", b"\x01\x01", b"\xff", b"", bytes(255) + b"\xff"]
    good = 0
    for number in range(count):
        kind, chain = mutator.chain()
        data = sealed(kind, chain, paddings[0 if number % 8 else number // 8 % 5], cipher)
        try:
            message = open_sealed(parse_clear(data), cipher)
            good += 1
            use(message)
        except RemoteProtocolError:
            continue
        except Exception as error:  # noqa: BLE001 (the test says which content it was)
            pytest.fail(f"seed {SEED + 1}, content {number}: {error!r}\n{data.hex()}")
    with capsys.disabled():
        print(f"\n  fuzz: {count} contents, seed {SEED + 1}: {good} were messages, none did harm")
    assert count < 1000 or good / count > 0.05, "the mutator is too wild"
