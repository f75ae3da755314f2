# SPDX-License-Identifier: GPL-2.0-or-later
"""A cipher for tests of the codec: no secrecy, but every octet counts in its ICV, as in a real one."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from xfrmd.errors import RemoteProtocolError


@dataclass(frozen=True)
class ToyCipher:
    """Plaintext xor 0x5A and an HMAC over AAD, IV and ciphertext."""

    iv_len: int = 8
    icv_len: int = 16
    block_len: int = 1
    key: bytes = b"toy"

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        assert len(iv) == self.iv_len
        assert len(plaintext) % self.block_len == 0
        ciphertext = bytes(octet ^ 0x5A for octet in plaintext)
        return ciphertext + self._icv(aad + iv + ciphertext)

    def open(self, iv: bytes, ciphertext_and_icv: bytes, aad: bytes) -> bytes:
        split = len(ciphertext_and_icv) - self.icv_len
        assert len(iv) == self.iv_len
        assert split > 0
        assert split % self.block_len == 0
        ciphertext, icv = ciphertext_and_icv[:split], ciphertext_and_icv[split:]
        if not hmac.compare_digest(icv, self._icv(aad + iv + ciphertext)):
            raise RemoteProtocolError("toy ICV", 24)
        return bytes(octet ^ 0x5A for octet in ciphertext)

    def _icv(self, covered: bytes) -> bytes:
        return hmac.digest(self.key, covered, "sha256")[: self.icv_len]
