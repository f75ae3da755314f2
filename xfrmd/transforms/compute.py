# SPDX-License-Identifier: GPL-2.0-or-later
"""What transforms compute: prf, prf+ (RFC 7296 2.13) and the protection of IKE messages (RFC 7296 3.14, RFC 5282).

This is the hot path of every handshake: algorithms are looked up once, objects that hold a key schedule are kept.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.model.proposals import Transform
from xfrmd.transforms import catalog
from xfrmd.transforms.encr import ENCR_3DES, ENCR_AES_CCM_16, ENCR_AES_CTR, ENCR_CHACHA20_POLY1305, EncrRow
from xfrmd.transforms.exchange import Entropy, KeyExchange, key_exchange_answer, key_exchange_new
from xfrmd.transforms.integ import IntegRow
from xfrmd.transforms.prf import PrfRow

__all__ = ["Entropy", "IkeCipher", "KeyExchange", "key_exchange_answer", "key_exchange_new", "prf_compute", "prf_plus"]

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 (in HMAC alone, and only where a policy allows it)
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@lru_cache(maxsize=16)
def _prf_row(prf: Transform) -> PrfRow:
    row = catalog.prf_row(prf)
    if row is None:
        raise LocalProtocolError(f"pseudorandom function {catalog.name_of(prf)} is not known here")
    return row


def prf_compute(prf: Transform, key: bytes, data: bytes) -> bytes:
    """prf(key, data). An HMAC takes keys of any length (RFC 7296 2.13). LocalProtocolError for an unknown one."""
    return hmac.digest(key, data, _prf_row(prf).hash)


# rfc 7296: prf-plus
def prf_plus(prf: Transform, key: bytes, seed: bytes, length: int) -> bytes:
    """`length` octets of prf+(key, seed), at most 255 times the prf's output (RFC 7296 2.13), else LocalProtocolError.

    prf+ over an HMAC is the Expand step of HKDF (RFC 5869 2.3) to the octet, and that comes as one call.
    """
    row = _prf_row(prf)
    if not 0 < length <= 255 * row.out_len:
        raise LocalProtocolError(f"prf+ cannot give {length} octets")
    return HKDFExpand(_HASHES[row.hash], length, seed).derive(key)


class IkeCipher(ABC):
    """Protects IKE messages in one direction with one key. Lengths in octets; padding is the caller's."""

    __slots__ = ("block_len", "icv_len", "iv_len")

    iv_len: int
    icv_len: int
    block_len: int
    """Plaintext is a multiple of this."""

    @staticmethod
    def new(encr: Transform, encr_key: bytes, integ: Transform | None = None, integ_key: bytes = b"") -> IkeCipher:
        """The cipher of one direction. An AEAD's key has its salt appended and goes without `integ`; others need both.

        LocalProtocolError for unknown algorithms, combinations that do not exist and keys of wrong length.
        """
        row = catalog.encr_row(encr)
        if row is None:
            raise LocalProtocolError(f"encryption {catalog.name_of(encr)} is not known here")
        if not row.ike:
            raise LocalProtocolError(f"{row.name} does not protect IKE")
        _check_key(row.name, row.key_len, encr_key)
        if row.aead:
            if integ is not None:
                raise LocalProtocolError(f"{row.name} goes without an integrity algorithm")
            return _Aead(row, encr_key)
        integ_row = catalog.integ_row(integ) if integ is not None else None
        if integ_row is None:
            raise LocalProtocolError(f"{row.name} needs an integrity algorithm known here")
        _check_key(integ_row.name, integ_row.key_len, integ_key)
        return (_CtrHmac if row.id == ENCR_AES_CTR else _CbcHmac)(row, integ_row, encr_key, integ_key)

    @abstractmethod
    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext and ICV. `aad` is the message up to the IV. No IV may come twice under one key."""

    @abstractmethod
    def open(self, iv: bytes, ciphertext_and_icv: bytes, aad: bytes) -> bytes:
        """The plaintext of what `seal` made; RemoteProtocolError when the ICV is wrong or the sizes cannot be."""


def _check_key(name: str, length: int, key: bytes) -> None:
    if len(key) != length:
        raise LocalProtocolError(f"{name} takes a key of {length} octets, not {len(key)}")


class _Aead(IkeCipher):
    """AES-GCM and AES-CCM (RFC 5282), ChaCha20-Poly1305 (RFC 7634): the nonce is salt | IV.

    Only the key is kept. A context of the library takes 2.4 KB and a microsecond to make; most IKE SAs of a host with
    thousands say nothing for hours.
    """

    __slots__ = ("_key", "_make", "_salt")

    def __init__(self, row: EncrRow, key: bytes) -> None:
        self.iv_len, self.icv_len, self.block_len = row.iv_len, row.icv_len, row.block_len
        self._key, self._salt = key[: -row.salt_len], key[-row.salt_len :]
        self._make: type[AESGCM | AESCCM | ChaCha20Poly1305] = _AEADS.get(row.id, AESGCM)

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return self._make(self._key).encrypt(self._salt + iv, plaintext, aad)

    def open(self, iv: bytes, ciphertext_and_icv: bytes, aad: bytes) -> bytes:
        if len(iv) != self.iv_len:
            raise RemoteProtocolError(f"an IV of {len(iv)} octets, not {self.iv_len}")
        try:
            return self._make(self._key).decrypt(self._salt + iv, ciphertext_and_icv, aad)
        except InvalidTag:
            raise RemoteProtocolError("the ICV of a message is wrong") from None


_AEADS: Final[dict[int, type[AESCCM | ChaCha20Poly1305]]] = {
    ENCR_AES_CCM_16: AESCCM,
    ENCR_CHACHA20_POLY1305: ChaCha20Poly1305,
}
"""Those that are not AES-GCM."""


class _CbcHmac(IkeCipher):
    """AES-CBC (RFC 3602) or 3DES-CBC (RFC 2451) with an HMAC over `aad`, IV and ciphertext (RFC 7296 3.14)."""

    __slots__ = ("_algorithm", "_hash", "_integ_key")

    def __init__(self, encr: EncrRow, integ: IntegRow, encr_key: bytes, integ_key: bytes) -> None:
        self.iv_len, self.icv_len, self.block_len = encr.iv_len, integ.icv_len, encr.block_len
        self._algorithm = TripleDES(encr_key) if encr.id == ENCR_3DES else algorithms.AES(encr_key)
        self._integ_key, self._hash = integ_key, integ.hash

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        encryptor = Cipher(self._algorithm, self._mode(iv)).encryptor()
        ciphertext = encryptor.update(plaintext) + encryptor.finalize()
        return ciphertext + hmac.digest(self._integ_key, aad + iv + ciphertext, self._hash)[: self.icv_len]

    def open(self, iv: bytes, ciphertext_and_icv: bytes, aad: bytes) -> bytes:
        body, icv = ciphertext_and_icv[: -self.icv_len], ciphertext_and_icv[-self.icv_len :]
        right = hmac.digest(self._integ_key, aad + iv + body, self._hash)[: self.icv_len]
        if not hmac.compare_digest(icv, right):
            raise RemoteProtocolError("the ICV of a message is wrong")
        if len(iv) != self.iv_len or len(body) % self.block_len:
            raise RemoteProtocolError(f"an IV of {len(iv)} octets and {len(body)} of ciphertext are no whole blocks")
        decryptor = Cipher(self._algorithm, self._mode(iv)).decryptor()
        return decryptor.update(body) + decryptor.finalize()

    def _mode(self, iv: bytes) -> modes.CBC | modes.CTR:
        return modes.CBC(iv)


class _CtrHmac(_CbcHmac):
    """AES-CTR (RFC 5930) with an HMAC: the counter block is salt | IV | 1, counted in its last four octets."""

    __slots__ = ("_salt",)

    def __init__(self, encr: EncrRow, integ: IntegRow, encr_key: bytes, integ_key: bytes) -> None:
        super().__init__(encr, integ, encr_key[: -encr.salt_len], integ_key)
        self._salt = encr_key[-encr.salt_len :]

    def _mode(self, iv: bytes) -> modes.CBC | modes.CTR:
        return modes.CTR(self._salt + iv + b"\0\0\0\1")
