# SPDX-License-Identifier: GPL-2.0-or-later
"""HMAC-SHA2 as prf (RFC 4231) and, cut in half, as integrity of an IKE message (RFC 4868 2.7); HMAC-SHA1 (RFC 2202)."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import pytest

from xfrmd.transforms import catalog, integ, prf
from xfrmd.transforms.compute import IkeCipher, prf_compute

# Output by name of the hash, in RFC 4231's order of cases.
RFC_4231 = {
    "1": (
        b"\x0b" * 20,
        b"Hi There",
        {
            "SHA256": "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "SHA384": "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6"
            "82aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
            "SHA512": "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
            "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        },
    ),
    "2: a key shorter than the hash": (
        b"Jefe",
        b"what do ya want for nothing?",
        {
            "SHA256": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "SHA384": "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"
            "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            "SHA512": "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        },
    ),
    "6: a key longer than the block": (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        {
            "SHA256": "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "SHA384": "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f"
            "3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
            "SHA512": "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
            "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        },
    ),
}

RFC_2202 = (
    (b"\x0b" * 20, b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
    (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    (
        b"\xaa" * 80,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "aa4ae5e15272d00e95705637ce8a3b55ed402112",
    ),
)


@pytest.mark.parametrize(("key", "data", "output"), RFC_2202, ids=["1", "2", "6"])
def test_prf_sha1(key: bytes, data: bytes, output: str) -> None:
    assert prf_compute(catalog.prf("SHA1"), key, data).hex() == output


@pytest.mark.parametrize("case", RFC_4231)
@pytest.mark.parametrize("row", [r for r in prf.ROWS if not r.weak], ids=lambda r: r.name)
def test_prf(row: prf.PrfRow, case: str) -> None:
    key, data, outputs = RFC_4231[case]
    assert prf_compute(row.transform, key, data).hex() == outputs[row.name]


class Auth(NamedTuple):
    """Test case AUTHnnn-2 of RFC 4868 2.7.2: a key as long as the hash."""

    key: bytes
    icv: str


DATA = b"what do ya want for nothing?"
RFC_4868 = {
    "SHA256": Auth(b"Jefe" * 8, "167f928588c5cc2eef8e3093caa0e87c"),
    "SHA384": Auth(b"Jefe" * 12, "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d"),
    "SHA512": Auth(b"Jefe" * 16, "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454"),
    "SHA1": Auth(b"Jefe" * 5, hmac.new(b"Jefe" * 5, DATA, hashlib.sha1).hexdigest()[:24]),  # as the prf, RFC 2404
}


def test_every_row_has_its_answer() -> None:
    assert {row.name for row in integ.ROWS} == set(RFC_4868)
    assert all({row.name for row in prf.ROWS if not row.weak} == set(outputs) for _, _, outputs in RFC_4231.values())


@pytest.mark.parametrize("row", integ.ROWS, ids=lambda r: r.name)
def test_integrity(row: integ.IntegRow) -> None:
    """The ICV covers AAD, IV and ciphertext: without plaintext, AAD and IV can be the RFC's text, cut in two."""
    auth = RFC_4868[row.name]
    cipher = IkeCipher.new(catalog.encryption("AES128"), bytes(16), row.transform, auth.key)
    assert cipher.seal(DATA[-16:], b"", DATA[:-16]).hex() == auth.icv
    assert cipher.open(DATA[-16:], bytes.fromhex(auth.icv), DATA[:-16]) == b""
