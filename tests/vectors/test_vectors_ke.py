# SPDX-License-Identifier: GPL-2.0-or-later
"""Key exchange: published pairs for the curves, plain pow() as the second opinion for the MODP groups."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from xfrmd.transforms import ke
from xfrmd.transforms.exchange import key_exchange_new
from xfrmd.transforms.modp import GROUPS, prime

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def exactly(octets: bytes) -> Callable[[int], bytes]:
    """Entropy that is asked once, for just as much."""

    def give(count: int) -> bytes:
        assert count == len(octets)
        return octets

    return give


def stretched(seed: str) -> Callable[[int], bytes]:
    return lambda count: hashlib.shake_256(seed.encode()).digest(count)


class Side(NamedTuple):
    """Private and public value as hex."""

    private: str
    public: str


class Pair(NamedTuple):
    source: str
    one: Side
    other: Side
    shared: str


PAIRS = {
    "X25519": Pair(
        "RFC 7748 6.1",
        Side(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        Side(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ),
    "ECP256": Pair(
        "RFC 5903 8.1",
        Side(
            "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
            "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
        ),
        Side(
            "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
            "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
            "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
        ),
        "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
    ),
    "ECP384": Pair(
        "RFC 5903 8.2",
        Side(
            "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
            "667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa"
            "9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
        ),
        Side(
            "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
            "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571"
            "dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
        ),
        "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746",
    ),
}
# SHA-256 of the primes that RFC 2409 6.2 and RFC 3526 2 to 5 print, and the private exponent's size in octets.
PRIMES = {
    "MODP2048": ("d66436f79bbd6b2e38c0ffbd079be904d2641415e2e67140e09448be9a60890e", 29),
    "MODP3072": ("48cf8b092fbce4359d9871abf74f98e25b6163379eaa15cd9087e800c6d1c55c", 35),
    "MODP4096": ("4ee95187682bcb230ad26a95205f6920e84708f6251b3894329b09ec23919e33", 41),
    "MODP1536": ("64fcc83ec403930bf18393dbc883ccaa1fbb08ac876f77f7aa99748ca945019b", 25),
    "MODP1024": ("3f35a3f5f6c4376a744acad409bb22f8d897f949d2311d885adaa890981b67a0", 22),
}
# Seeds whose public value, and whose secret shared with the seed "peer", begin with a zero octet.
LEADING_ZERO = {"MODP2048": (580, 778), "MODP3072": (251, 74), "MODP4096": (321, 41), "ECP256": (303, 96)}

CURVES = [row for row in ke.ROWS if row.kind is not ke.KeKind.MODP]
MODP = [row for row in ke.ROWS if row.kind is ke.KeKind.MODP]


def entropy_of(row: ke.KeRow, private: str) -> Callable[[int], bytes]:
    if row.kind is ke.KeKind.MONTGOMERY:
        return exactly(bytes.fromhex(private))
    # Scalars are the entropy reduced to 0 .. order - 2, plus one.
    return exactly((int(private, 16) - 1).to_bytes(row.shared_len + 8))


def test_every_row_has_its_answer() -> None:
    assert {row.name for row in ke.ROWS} == PAIRS.keys() | PRIMES.keys()


@pytest.mark.parametrize("row", CURVES, ids=lambda r: r.name)
def test_curves(row: ke.KeRow) -> None:
    pair = PAIRS[row.name]
    one = key_exchange_new(row.transform, entropy_of(row, pair.one.private))
    other = key_exchange_new(row.transform, entropy_of(row, pair.other.private))
    assert one.public.hex() == pair.one.public
    assert other.public.hex() == pair.other.public
    assert one.shared(other.public).hex() == pair.shared
    assert other.shared(one.public).hex() == pair.shared


@pytest.mark.parametrize("row", MODP, ids=lambda r: r.name)
def test_primes_are_those_of_the_rfcs(row: ke.KeRow) -> None:
    group = GROUPS[row.id]
    assert hashlib.sha256(prime(group).to_bytes(row.public_len)).hexdigest() == PRIMES[row.name][0]


@pytest.mark.parametrize("row", MODP, ids=lambda r: r.name)
def test_modp_is_what_pow_says(row: ke.KeRow) -> None:
    p, size = prime(GROUPS[row.id]), PRIMES[row.name][1]
    secrets = [bytes([fill]) * size for fill in (0x00, 0x5A, 0xFF)]
    exponents = [int.from_bytes(secret) | 1 << (8 * size - 1) for secret in secrets]
    for secret, exponent in zip(secrets, exponents, strict=True):
        ours = key_exchange_new(row.transform, exactly(secret))
        assert ours.public == pow(2, exponent, p).to_bytes(row.public_len)
        peer = pow(2, 3**99, p)
        assert ours.shared(peer.to_bytes(row.public_len)) == pow(peer, exponent, p).to_bytes(row.shared_len)


# rfc 7296: skeyseed ke-length
@pytest.mark.parametrize("row", [r for r in ke.ROWS if r.name in LEADING_ZERO], ids=lambda r: r.name)
def test_leading_zeros_are_kept(row: ke.KeRow) -> None:
    public, shared = LEADING_ZERO[row.name]
    peer = key_exchange_new(row.transform, stretched("peer"))
    value = key_exchange_new(row.transform, stretched(f"zero {public}")).public
    assert (value[0], len(value)) == (0, row.public_len)
    secret = key_exchange_new(row.transform, stretched(f"zero {shared}")).shared(peer.public)
    assert (secret[0], len(secret)) == (0, row.shared_len)


def test_scalars_of_a_curve_wrap_around_the_order() -> None:
    row = next(r for r in ke.ROWS if r.name == "ECP256")
    first = key_exchange_new(row.transform, exactly(bytes(40)))
    again = key_exchange_new(row.transform, exactly((P256_ORDER - 1).to_bytes(40)))
    assert first.public == again.public, "the scalar is never 0 and never the order"
