# SPDX-License-Identifier: GPL-2.0-or-later
"""ML-KEM (FIPS 203) as a key exchange (draft-ietf-ipsecme-ikev2-mlkem): the initiator sends an encapsulation key, the
responder a ciphertext, and the shared secret is what it holds.

A private key is made of the entropy handed in (d and z of FIPS 203 7.1). What a responder encapsulates is drawn by
OpenSSL: no interface takes it from outside.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import mlkem

from xfrmd.transforms.ke import MLKEM768, MLKEM1024, KeRow

SEED: Final = 64
"""Octets that a private key is made of."""
_PRIVATE: Final[dict[int, type[mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey]]] = {
    MLKEM768: mlkem.MLKEM768PrivateKey,
    MLKEM1024: mlkem.MLKEM1024PrivateKey,
}
_PUBLIC: Final[dict[int, type[mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey]]] = {
    MLKEM768: mlkem.MLKEM768PublicKey,
    MLKEM1024: mlkem.MLKEM1024PublicKey,
}


class KemKey:
    """The initiator's side."""

    __slots__ = ("_key", "public")

    def __init__(self, row: KeRow, seed: bytes) -> None:
        """`seed` holds SEED octets."""
        self._key = _PRIVATE[row.id].from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret. A ciphertext that is none gives another one (FIPS 203 6.3). ValueError: wrong size."""
        return self._key.decapsulate(ciphertext)


def encapsulate(row: KeRow, public: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and shared secret. ValueError for a key of wrong size or with numbers too large (FIPS 203 7.2)."""
    shared, ciphertext = _PUBLIC[row.id].from_public_bytes(public).encapsulate()
    return ciphertext, shared
