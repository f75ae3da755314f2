# SPDX-License-Identifier: GPL-2.0-or-later
"""Key exchange: what is refused (RFC 6989 2, RFC 7748 6.1), and that a seed decides everything."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.model.proposals import Transform, TransformType
from xfrmd.transforms import ke
from xfrmd.transforms.exchange import INVALID_SYNTAX, key_exchange_new
from xfrmd.transforms.modp import GROUPS, Ladder, OpenSslModp, prime

ROWS = {row.name: row for row in ke.ROWS}


def seeded(seed: str) -> Callable[[int], bytes]:
    return lambda count: hashlib.shake_256(seed.encode()).digest(count)


def exchanged(row: ke.KeRow, public: bytes) -> bytes:
    return key_exchange_new(row.transform, seeded("us")).shared(public)


def assert_refused(row: ke.KeRow, public: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=row.name) as caught:
        exchanged(row, public)
    assert caught.value.notify == INVALID_SYNTAX


@pytest.mark.parametrize("row", ke.ROWS, ids=lambda r: r.name)
def test_both_ends_agree_and_a_seed_gives_the_same_octets(row: ke.KeRow) -> None:
    one, other = (key_exchange_new(row.transform, seeded(name)) for name in ("one", "other"))
    again = key_exchange_new(row.transform, seeded("one"))
    assert one.public == again.public != other.public
    assert len(one.public) == row.public_len
    secret = one.shared(other.public)
    assert secret == other.shared(one.public) == again.shared(other.public)
    assert len(secret) == row.shared_len


# rfc 7296: ke-length
@pytest.mark.parametrize("row", ke.ROWS, ids=lambda r: r.name)
def test_wrong_sizes_are_refused(row: ke.KeRow) -> None:
    good = key_exchange_new(row.transform, seeded("peer")).public
    assert len(exchanged(row, good)) == row.shared_len
    for public in (b"", good[:-1], good[1:], good + b"\0", b"\0" + good, good + good):
        assert_refused(row, public)


def of_right_size(row: ke.KeRow) -> st.SearchStrategy[tuple[ke.KeRow, bytes]]:
    return st.tuples(st.just(row), st.binary(min_size=row.public_len, max_size=row.public_len))


@settings(max_examples=60, deadline=None)  # a busy machine is no failure
@given(st.sampled_from(ke.ROWS).flatmap(of_right_size))
def test_any_octets_are_a_secret_or_refused(case: tuple[ke.KeRow, bytes]) -> None:
    row, public = case
    with contextlib.suppress(RemoteProtocolError):
        assert len(exchanged(row, public)) == row.shared_len


# Points of small order on Curve25519 and its twist, and encodings of them above the prime.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
]


# rfc 7296: weak-values
# rfc 6989: no-infinity
@pytest.mark.parametrize("public", SMALL_ORDER)
def test_x25519_refuses_points_of_small_order(public: str) -> None:
    assert_refused(ROWS["X25519"], bytes.fromhex(public))


# On Curve448: 0, 1, -1, and the prime and one more, which are 0 and 1 again (RFC 7748 4.2, 7).
SMALL_ORDER_448 = ["00" * 56, "01" + "00" * 55, "fe" + "ff" * 27 + "fe" + "ff" * 27, "ff" * 28 + "fe" + "ff" * 27]


@pytest.mark.parametrize("public", SMALL_ORDER_448)
def test_x448_refuses_points_of_small_order(public: str) -> None:
    assert_refused(ROWS["X448"], bytes.fromhex(public))


ECP = [row.name for row in ke.ROWS if row.kind is ke.KeKind.ECP]
MODP = [row.name for row in ke.ROWS if row.kind is ke.KeKind.MODP]


# rfc 7296: weak-values
# rfc 6989: ecp-on-curve
@pytest.mark.parametrize("name", ECP)
def test_ecp_refuses_what_is_not_on_the_curve(name: str) -> None:
    row = ROWS[name]
    good = key_exchange_new(row.transform, seeded("peer")).public
    half = row.public_len // 2
    x, y = good[:half], good[half:]
    assert_refused(row, x + y[:-1] + bytes([y[-1] ^ 1]))
    assert_refused(row, y + x)
    assert_refused(row, bytes(row.public_len))
    assert_refused(row, b"\xff" * row.public_len)


def test_a_point_of_another_curve_is_refused() -> None:
    """Both have coordinates of the same size."""
    for one, other in (("ECP256", "BRAINPOOL256"), ("ECP384", "BRAINPOOL384")):
        assert_refused(ROWS[one], key_exchange_new(ROWS[other].transform, seeded("peer")).public)
        assert_refused(ROWS[other], key_exchange_new(ROWS[one].transform, seeded("peer")).public)


# rfc 7296: weak-values
# rfc 6989: modp-range
@pytest.mark.parametrize("name", MODP)
def test_modp_refuses_values_that_give_the_secret_away(name: str) -> None:
    row = ROWS[name]
    p = prime(GROUPS[row.id])
    for value in (0, 1, p - 1, p, p + 1, (1 << 8 * row.public_len) - 1):
        assert_refused(row, value.to_bytes(row.public_len))
    for value in (2, p - 2):
        assert len(exchanged(row, value.to_bytes(row.public_len))) == row.shared_len


@pytest.mark.parametrize("transform", [Transform(TransformType.KE, 1), Transform(TransformType.ENCR, 12, 128)])
def test_unknown_methods_are_our_fault(transform: Transform) -> None:
    with pytest.raises(LocalProtocolError):
        key_exchange_new(transform, seeded("us"))


def test_the_deprecation_of_modp_is_heard_nowhere() -> None:
    """Not when the module is loaded in a strict interpreter, not when it is used; and other warnings still are."""
    program = "import warnings, xfrmd.transforms.exchange; warnings.warn('heard', UserWarning)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == "UserWarning: heard"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exchange = key_exchange_new(ROWS["MODP2048"].transform, seeded("us"))
        exchange.shared(exchange.public)


@pytest.mark.parametrize("name", MODP)
def test_our_own_ladder_computes_what_openssl_does(name: str) -> None:
    group = GROUPS[ROWS[name].id]
    p, size = prime(group), group.secret_len
    secrets = [bytes(size), b"\xff" * size, seeded("a")(size), seeded("b")(size)]
    for secret in secrets[: 4 if group.bits <= 4096 else 3]:
        ours, theirs = Ladder(group, secret), OpenSslModp(group, secret)
        for value in (2, p - 2, p // 3):
            assert ours.power(value) == theirs.power(value)
    for value in (0, 1, p - 1, p):
        with pytest.raises(ValueError, match="prime"):
            Ladder(group, secrets[0]).power(value)


def test_without_modp_in_cryptography_our_own_ladder_takes_its_place() -> None:
    program = (
        "import sys, cryptography.hazmat.primitives.serialization\n"
        "sys.modules['cryptography.hazmat.primitives.asymmetric.dh'] = None\n"
        "from xfrmd.model.proposals import Transform\n"
        "from xfrmd.transforms import exchange\n"
        "one = exchange.key_exchange_new(Transform(4, 14), lambda count: bytes(range(count)))\n"
        "print(exchange.MODP.__name__, one.shared(one.public).hex())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = key_exchange_new(ROWS["MODP2048"].transform, lambda count: bytes(range(count)))
    assert done.stdout.split() == ["Ladder", ours.shared(ours.public).hex()]
