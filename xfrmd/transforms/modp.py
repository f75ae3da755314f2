# SPDX-License-Identifier: GPL-2.0-or-later
"""Diffie-Hellman over the MODP groups of RFC 3526: the one module that knows where its arithmetic comes from.

`cryptography` deprecates finite-field Diffie-Hellman and will drop it (pyproject pins a version that has it). Until
then OpenSSL computes both powers in constant time. When it goes, only `Modp` changes: `pow(value, exponent, prime)` is
right but takes 8 to 10 times as long and its time depends on the exponent, so a binding with a constant-time modular
power (libcrypto's BN_mod_exp_mont_consttime, gmpy2's powmod_sec) has to come in its place.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.dh import DHPrivateKey

with warnings.catch_warnings():
    # The warning is issued where these names are looked up, here and nowhere else.
    warnings.simplefilter("ignore")
    from cryptography.hazmat.primitives.asymmetric.dh import DHParameterNumbers, DHPrivateNumbers, DHPublicNumbers


class ModpGroup(NamedTuple):
    """A group of RFC 2409 6.2 or RFC 3526, its generator 2.

    The prime is 2^bits - 2^(bits-64) - 1 + 2^64 ([2^(bits-130) pi] + offset).
    """

    bits: int
    offset: int
    secret_len: int
    """Octets of the private exponent: RFC 7919 wants at least 225, 275 and 325 bits of it (RFC 3526 8 says the same in
    effect, and 180 bits for group 5); longer ones cost time in proportion and add nothing that the group itself does
    not already limit.
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


@functools.cache
def _parameters(group: ModpGroup) -> DHParameterNumbers:
    return DHParameterNumbers(prime(group), 2)


class Modp:
    """One private exponent in a group."""

    __slots__ = ("_group", "_key")

    def __init__(self, group: ModpGroup, secret: bytes) -> None:
        """`secret` holds `group.secret_len` octets; its first bit is set, so that all exponents are equally long."""
        exponent = int.from_bytes(secret) | 1 << (8 * group.secret_len - 1)
        parameters = _parameters(group)
        # A private key comes with its public value, but nothing here reads it: a placeholder saves computing it twice.
        numbers = DHPrivateNumbers(exponent, DHPublicNumbers(2, parameters))
        self._group = group
        self._key: DHPrivateKey = numbers.private_key()

    def power(self, value: int) -> bytes:
        """`value` to the exponent modulo the prime, leading zeros kept. 1 < value < prime - 1, else ValueError."""
        return self._key.exchange(DHPublicNumbers(value, _parameters(self._group)).public_key())
