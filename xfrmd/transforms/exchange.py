# SPDX-License-Identifier: GPL-2.0-or-later
"""Key exchange: our public value for the KE payload, and the secret shared with the peer's (RFC 7296 2.12, 3.4).

Private values are made of the entropy handed in, so that a seed gives the same octets again. What a peer sends is
checked as RFC 6989 2 asks, every time: private values are used once, but an invalid one must not become a key either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.model.proposals import Transform
from xfrmd.transforms import catalog
from xfrmd.transforms.ke import KeKind, KeRow
from xfrmd.transforms.kem import SEED, KemKey, encapsulate
from xfrmd.transforms.modp import GROUPS, MODP, prime

Entropy = Callable[[int], bytes]
"""Called with a number of octets, gives that many unpredictable ones."""

INVALID_SYNTAX: Final = 7
"""Notify Message Type for a public value that fails a check (RFC 6989 2.5)."""


class KeyExchange(Protocol):
    """One side of one exchange. `public` is the Key Exchange Data to send."""

    public: bytes

    def shared(self, peer_public: bytes) -> bytes:
        """The shared secret, leading zeros kept. RemoteProtocolError for a public value of wrong size or not valid."""
        ...


class KeyAnswer(NamedTuple):
    """A responder's Key Exchange Data, and the shared secret."""

    public: bytes
    shared: bytes


def _refuse(row: KeRow, why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{row.name} public value {why}", INVALID_SYNTAX)


def _check_size(row: KeRow, peer_public: bytes) -> None:
    if len(peer_public) != row.public_len:
        raise _refuse(row, f"of {len(peer_public)} octets, not {row.public_len}")


class _Montgomery:
    """X25519 and X448 (RFC 8031 2, RFC 7748 6)."""

    __slots__ = ("_raised", "_row", "public")

    def __init__(self, row: KeRow, entropy: Entropy) -> None:
        self._row = row
        self.public, self._raised = _FUNCTIONS[row.id](entropy(row.public_len))

    def shared(self, peer_public: bytes) -> bytes:
        _check_size(self._row, peer_public)
        try:
            return self._raised(peer_public)
        except ValueError as error:  # the result is all zeros: RFC 7748 6.1, 6.2
            raise _refuse(self._row, "of small order") from error


_Raised = Callable[[bytes], bytes]
"""A peer's public value to the shared secret; ValueError when that is all zeros."""


def _x25519(secret: bytes) -> tuple[bytes, _Raised]:
    key = X25519PrivateKey.from_private_bytes(secret)
    return key.public_key().public_bytes_raw(), lambda peer: key.exchange(X25519PublicKey.from_public_bytes(peer))


def _x448(secret: bytes) -> tuple[bytes, _Raised]:
    key = X448PrivateKey.from_private_bytes(secret)
    return key.public_key().public_bytes_raw(), lambda peer: key.exchange(X448PublicKey.from_public_bytes(peer))


_FUNCTIONS: Final[dict[int, Callable[[bytes], tuple[bytes, _Raised]]]] = {31: _x25519, 32: _x448}


class _Curve(NamedTuple):
    curve: ec.EllipticCurve
    order: int


# Orders of the base points: FIPS 186-4 D.1.2.3 to D.1.2.5, RFC 5639 3.4, 3.6, 3.7.
_CURVES: Final = {
    19: _Curve(ec.SECP256R1(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    20: _Curve(
        ec.SECP384R1(),
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
    21: _Curve(
        ec.SECP521R1(),
        int(
            "1FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA"
            "51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
            16,
        ),
    ),
    28: _Curve(ec.BrainpoolP256R1(), 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7),
    29: _Curve(
        ec.BrainpoolP384R1(),
        0x8CB91E82A3386D280F5D6F7E50E641DF152F7109ED5456B31F166E6CAC0425A7CF3AB6AF6B7FC3103B883202E9046565,
    ),
    30: _Curve(
        ec.BrainpoolP512R1(),
        int(
            "AADD9DB8DBE9C48B3FD4E6AE33C9FC07CB308DB3B3C9D20ED6639CCA70330870"
            "553E5C414CA92619418661197FAC10471DB1D381085DDADDB58796829CA90069",
            16,
        ),
    ),
}
_ECDH: Final = ec.ECDH()


class _Ecp:
    """Random ECP groups: public value x | y, shared secret x alone (RFC 5903 7)."""

    __slots__ = ("_curve", "_key", "_row", "public")

    def __init__(self, row: KeRow, entropy: Entropy) -> None:
        self._row = row
        self._curve, order = _CURVES[row.id]
        # 64 bits more than the order has keep the scalar uniform to within 2^-64 (FIPS 186-4 B.4.1).
        scalar = int.from_bytes(entropy(row.shared_len + 8)) % (order - 1) + 1
        self._key = ec.derive_private_key(scalar, self._curve)
        self.public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    def shared(self, peer_public: bytes) -> bytes:
        _check_size(self._row, peer_public)
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, b"\x04" + peer_public)
        except ValueError as error:
            raise _refuse(self._row, "that is no point of the curve") from error
        return self._key.exchange(_ECDH, peer)


class _Modp:
    """MODP groups: public value and shared secret as long as the prime (RFC 7296 3.4, 2.14)."""

    __slots__ = ("_modp", "_row", "public")

    def __init__(self, row: KeRow, entropy: Entropy) -> None:
        self._row = row
        self._modp = MODP(GROUPS[row.id], entropy(GROUPS[row.id].secret_len))
        self.public = self._modp.power(2)

    def shared(self, peer_public: bytes) -> bytes:
        _check_size(self._row, peer_public)
        value = int.from_bytes(peer_public)
        if not 1 < value < prime(GROUPS[self._row.id]) - 1:
            raise _refuse(self._row, "outside 2 .. p-2")
        return self._modp.power(value)


class _Kem:
    """ML-KEM: `shared` takes the ciphertext of the responder."""

    __slots__ = ("_key", "_row", "public")

    def __init__(self, row: KeRow, entropy: Entropy) -> None:
        self._row = row
        self._key = KemKey(row, entropy(SEED))
        self.public = self._key.public

    def shared(self, peer_public: bytes) -> bytes:
        if len(peer_public) != self._row.answer_len:
            raise _refuse(self._row, f"of {len(peer_public)} octets, not {self._row.answer_len}")
        return self._key.decapsulate(peer_public)


_KINDS: Final[dict[KeKind, Callable[[KeRow, Entropy], KeyExchange]]] = {
    KeKind.MONTGOMERY: _Montgomery,
    KeKind.ECP: _Ecp,
    KeKind.MODP: _Modp,
    KeKind.KEM: _Kem,
}


# rfc 7296: ke-length weak-values
# rfc 6989: modp-range
def key_exchange_new(ke: Transform, entropy: Entropy) -> KeyExchange:
    """Begin a key exchange with a fresh private value. LocalProtocolError for a method that has no row."""
    row = _row(ke)
    return _KINDS[row.kind](row, entropy)


def key_exchange_answer(ke: Transform, peer_public: bytes, entropy: Entropy) -> KeyAnswer:
    """A responder's part in one go. Errors as those of key_exchange_new and KeyExchange.shared."""
    row = _row(ke)
    if row.kind is not KeKind.KEM:
        exchange = _KINDS[row.kind](row, entropy)
        return KeyAnswer(exchange.public, exchange.shared(peer_public))
    _check_size(row, peer_public)
    try:
        return KeyAnswer(*encapsulate(row, peer_public))
    except ValueError as error:
        raise _refuse(row, "with numbers that are too large") from error


def _row(ke: Transform) -> KeRow:
    row = catalog.ke_row(ke)
    if row is None:
        raise LocalProtocolError(f"key exchange {catalog.name_of(ke)} is not known here")
    return row
