# SPDX-License-Identifier: GPL-2.0-or-later
"""Transform Type 1, encryption: one row per algorithm and key length (RFC 7296 3.3.2, 3.3.5)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd.model.proposals import Transform, TransformType

ENCR_3DES: Final = 3
ENCR_NULL: Final = 11
ENCR_AES_CBC: Final = 12
ENCR_AES_CTR: Final = 13
ENCR_AES_CCM_16: Final = 16
ENCR_AES_GCM_16: Final = 20
ENCR_CHACHA20_POLY1305: Final = 28


class EncrRow(NamedTuple):
    """One cipher. Lengths in octets, `_bits` in bits; the IKEv1 ids are None where IKEv1 has no number for it."""

    name: str
    v1_ike_id: int | None
    """IKEv1 attribute "Encryption Algorithm" (RFC 2409 appendix A)."""
    v1_esp_id: int | None
    """IKEv1 ESP transform identifier (RFC 2407 4.4.4)."""
    id: int
    key_bits: int
    """Length of the key without salt."""
    key_attribute: bool
    """Does the proposal carry a Key Length attribute? A cipher with one key length must not (RFC 7296 3.3.5)."""
    salt_len: int
    iv_len: int
    """Octets of IV in each packet or IKE message."""
    block_len: int
    """Plaintext is padded to a multiple of this."""
    icv_len: int
    """Octets of the AEAD's own ICV, 0 where an integrity transform goes with the cipher."""
    aead: bool
    kernel_name: str
    """Name of XFRMA_ALG_CRYPT or XFRMA_ALG_AEAD."""
    kernel_icv_bits: int
    ike: bool = True
    """May it protect IKE's own messages?"""
    weak: bool = False
    """Windows Server 2003's: only where the policy allows weak algorithms by name."""

    # rfc 7296: key-length
    @property
    def transform(self) -> Transform:
        """The row as it is offered."""
        return Transform(TransformType.ENCR, self.id, self.key_bits if self.key_attribute else 0)

    @property
    def counts(self) -> bool:
        """Must no IV come twice under one key? Then they count up, else nobody may foresee them (RFC 3602 3)."""
        return self.aead or self.id == ENCR_AES_CTR

    @property
    def key_len(self) -> int:
        """Octets of key material the cipher takes, salt included (RFC 5282 7.1, RFC 7634 2, RFC 3686 5.1)."""
        return self.key_bits // 8 + self.salt_len


_CBC: Final = "cbc(aes)"
_CTR: Final = "rfc3686(ctr(aes))"
_CCM: Final = "rfc4309(ccm(aes))"
_NULL: Final = "ecb(cipher_null)"
_3DES: Final = "cbc(des3_ede)"
_GCM: Final = "rfc4106(gcm(aes))"
_CHACHA: Final = "rfc7539esp(chacha20,poly1305)"

# fmt: off
ROWS: Final = (
    #       name                 v1 ike v1 esp v2 id key  attr   salt iv block icv aead   kernel   icv bits
    EncrRow("AES128-GCM",        None,  20,    20,   128, True,  4,   8,  1,   16, True,  _GCM,    128),
    EncrRow("AES192-GCM",        None,  20,    20,   192, True,  4,   8,  1,   16, True,  _GCM,    128),
    EncrRow("AES256-GCM",        None,  20,    20,   256, True,  4,   8,  1,   16, True,  _GCM,    128),
    EncrRow("AES128",            7,     12,    12,   128, True,  0,   16, 16,  0,  False, _CBC,    0),
    EncrRow("AES192",            7,     12,    12,   192, True,  0,   16, 16,  0,  False, _CBC,    0),
    EncrRow("AES256",            7,     12,    12,   256, True,  0,   16, 16,  0,  False, _CBC,    0),
    EncrRow("CHACHA20-POLY1305", None,  None,  28,   256, False, 4,   8,  1,   16, True,  _CHACHA, 128),
    EncrRow("AES128-CCM",        None,  16,    16,   128, True,  3,   8,  1,   16, True,  _CCM,    128),
    EncrRow("AES192-CCM",        None,  16,    16,   192, True,  3,   8,  1,   16, True,  _CCM,    128),
    EncrRow("AES256-CCM",        None,  16,    16,   256, True,  3,   8,  1,   16, True,  _CCM,    128),
    EncrRow("AES128-CTR",        None,  13,    13,   128, True,  4,   8,  1,   0,  False, _CTR,    0),
    EncrRow("AES192-CTR",        None,  13,    13,   192, True,  4,   8,  1,   0,  False, _CTR,    0),
    EncrRow("AES256-CTR",        None,  13,    13,   256, True,  4,   8,  1,   0,  False, _CTR,    0),
    EncrRow("NULL",              None,  11,    11,   0,   False, 0,   0,  1,   0,  False, _NULL,   0, ike=False),
    EncrRow("3DES",              5,     3,     3,    192, False, 0,   8,  8,   0,  False, _3DES,   0, weak=True),
)
# fmt: on
