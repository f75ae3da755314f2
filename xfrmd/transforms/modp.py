# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffie-Hellman over the MODP groups of RFC 3526: the one module that knows where its arithmetic comes from.

`cryptography` deprecates finite-field Diffie-Hellman and will drop it (pyproject pins a version that has it). As long
as it is there, OpenSSL computes both powers in constant time. Where it is missing, a ladder of our own takes its place
(`Ladder`): slower, and as even in its steps as Python can be.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dh import DHPrivateKey

with warnings.catch_warnings():
    # The warning is issued where these names are looked up, here and nowhere else.
    warnings.simplefilter("ignore")
    try:
        from cryptography.hazmat.primitives.asymmetric.dh import DHParameterNumbers, DHPrivateNumbers, DHPublicNumbers
    except ImportError:
        IN_OPENSSL = False
    else:
        IN_OPENSSL = True


class ModpGroup(NamedTuple):
    """A group of RFC 2409 6.2 or RFC 3526, its generator 2.

    The prime is 2^bits - 2^(bits-64) - 1 + 2^64 ([2^(bits-130) pi] + offset).
    """

    bits: int
    offset: int
    secret_len: int
    """Octets of the private exponent: RFC 7919 wants at least 225, 275, 325, 375 and 400 bits of it (RFC 3526 8 says
    the same in effect, and 180 bits for group 5); longer ones cost time in proportion and add nothing that the group
    itself does not already limit.
    """

    @property
    def size(self) -> int:
        """Octets of the prime."""
        return self.bits // 8


# fmt: off
GROUPS: Final = {
    #              bits  offset   exponent
    2:  ModpGroup(1024, 129093,  22),
    5:  ModpGroup(1536, 741804,  25),
    14: ModpGroup(2048, 124476,  29),
    15: ModpGroup(3072, 1690314, 35),
    16: ModpGroup(4096, 240904,  41),
    17: ModpGroup(6144, 929484,  47),
    18: ModpGroup(8192, 4743158, 50),
}
# fmt: on


def _scaled_pi(bits: int) -> int:
    """floor(2^bits pi), by Machin's formula with 64 guard bits."""
    scale = bits + 64

    def arctan_of_inverse(x: int) -> int:
        power = total = (1 << scale) // x
        divisor, sign = 3, -1
        while power:
            power //= x * x
            total += sign * (power // divisor)
            divisor, sign = divisor + 2, -sign
        return total

    return (4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))) >> 64


@functools.cache
def prime(group: ModpGroup) -> int:
    """The prime of a group, by the formula that RFC 3526 defines it with."""
    high = (1 << group.bits) - (1 << (group.bits - 64))
    return high - 1 + ((_scaled_pi(group.bits - 130) + group.offset) << 64)


class Modp(Protocol):
    """One private exponent in a group: `secret` as an integer, its first bit set, so that all are equally long."""

    def __init__(self, group: ModpGroup, secret: bytes) -> None:
        """`secret` holds `group.secret_len` octets."""

    def power(self, value: int) -> bytes:
        """`value` to the exponent modulo the prime, leading zeros kept. 1 < value < prime - 1, else ValueError."""
        ...


def _exponent(group: ModpGroup, secret: bytes) -> int:
    return int.from_bytes(secret) | 1 << (8 * group.secret_len - 1)


class OpenSslModp(Modp):
    """By OpenSSL, in constant time."""

    __slots__ = ("_group", "_key")

    def __init__(self, group: ModpGroup, secret: bytes) -> None:
        parameters = _parameters(group)
        # A private key comes with its public value, but nothing here reads it: a placeholder saves computing it twice.
        numbers = DHPrivateNumbers(_exponent(group, secret), DHPublicNumbers(2, parameters))
        self._group = group
        self._key: DHPrivateKey = numbers.private_key()

    def power(self, value: int) -> bytes:
        """As Modp has it."""
        return self._key.exchange(DHPublicNumbers(value, _parameters(self._group)).public_key())


@functools.cache
def _parameters(group: ModpGroup) -> DHParameterNumbers:
    return DHParameterNumbers(prime(group), 2)


class Ladder(Modp):
    """By Montgomery's powering ladder over Python's integers.

    Every bit of the exponent costs one product and one square of numbers as long as the prime, whatever its value, and
    all exponents of a group have the same number of bits. The products themselves are not constant in time; an exponent
    serves for two powers only, of which a peer sees the time of one.
    """

    __slots__ = ("_bits", "_group")

    def __init__(self, group: ModpGroup, secret: bytes) -> None:
        exponent = _exponent(group, secret)
        self._group = group
        self._bits = tuple(exponent >> place & 1 for place in reversed(range(8 * group.secret_len - 1)))

    def power(self, value: int) -> bytes:
        """As Modp has it."""
        p = prime(self._group)
        if not 1 < value < p - 1:
            raise ValueError("not between 2 and the prime less 2")
        pair = [value, value * value % p]  # for the first bit, which is always set
        for bit in self._bits:
            product, square = pair[0] * pair[1] % p, pair[bit] * pair[bit] % p
            pair[bit], pair[1 - bit] = square, product
        return pair[0].to_bytes(self._group.size)


MODP: Final[type[Modp]] = OpenSslModp if IN_OPENSSL else Ladder
"""What computes."""
