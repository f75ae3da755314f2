# SPDX-License-Identifier: GPL-2.0-or-later
"""Key derivation of IKEv2: the keys of an IKE SA and of its child SAs (RFC 7296 2.14, 2.17, 2.18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.errors import LocalProtocolError
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms import catalog
from xfrmd.transforms.compute import prf_compute, prf_plus


@dataclass(slots=True, unsafe_hash=True, repr=False)
class IkeKeys:
    """Keys of an IKE SA, named as in RFC 7296 2.14; `i` and `r` are the SA's original initiator and responder.

    `sk_ai` and `sk_ar` are empty with an AEAD; `sk_ei` and `sk_er` have its salt appended. repr shows nothing.
    """

    sk_d: Final[bytes]
    sk_ai: Final[bytes]
    sk_ar: Final[bytes]
    sk_ei: Final[bytes]
    sk_er: Final[bytes]
    sk_pi: Final[bytes]
    sk_pr: Final[bytes]

    def __repr__(self) -> str:
        return "IkeKeys(...)"


class FlowKeys(NamedTuple):
    """Keys of one direction of a child SA; empty where its kind of algorithm is not in use."""

    encryption: Secret
    """With an AEAD's salt appended, as the kernel wants it."""
    integrity: Secret


class ChildKeys(NamedTuple):
    """Keys of a child SA pair by sender: `initiator` and `responder` of the exchange that made it (RFC 7296 2.17)."""

    initiator: FlowKeys
    responder: FlowKeys


def _lengths(encr: Transform | None, integ: Transform | None) -> tuple[int, int]:
    """Octets of encryption key (salt included) and of integrity key."""
    encr_row = catalog.encr_row(encr) if encr is not None else None
    integ_row = catalog.integ_row(integ) if integ is not None else None
    if encr is not None and encr_row is None:
        raise LocalProtocolError(f"encryption {catalog.name_of(encr)} is not known here")
    if integ is not None and integ_row is None:
        raise LocalProtocolError(f"integrity {catalog.name_of(integ)} is not known here")
    return encr_row.key_len if encr_row else 0, integ_row.key_len if integ_row else 0


# rfc 7296: skeyseed
def ike_keys(
    prf: Transform,
    encr: Transform,
    integ: Transform | None,
    *,
    ni: bytes,
    nr: bytes,
    shared: bytes,
    spi_i: bytes,
    spi_r: bytes,
    old: tuple[Transform, bytes] | None = None,
    more: bytes = b"",
) -> IkeKeys:
    """All keys of an IKE SA from the nonces, the shared secret and both SPIs (8 octets each).

    `old` is (prf, SK_d) of the IKE SA that is replaced: its own prf makes the new SKEYSEED (RFC 7296 2.18). `more` are
    the secrets of additional key exchanges of a rekey, one after the other (RFC 9370 2.2.4).
    LocalProtocolError for algorithms that have no row.
    """
    row = catalog.prf_row(prf)
    if row is None:
        raise LocalProtocolError(f"pseudorandom function {catalog.name_of(prf)} is not known here")
    nonces = ni + nr
    skeyseed = prf_compute(prf, nonces, shared) if old is None else prf_compute(old[0], old[1], shared + nonces + more)
    encr_len, integ_len = _lengths(encr, integ)
    d, a, e = row.key_len, row.key_len + 2 * integ_len, row.key_len + 2 * (integ_len + encr_len)
    stream = prf_plus(prf, skeyseed, nonces + spi_i + spi_r, e + 2 * row.key_len)
    return IkeKeys(
        stream[:d],
        stream[d : d + integ_len],
        stream[d + integ_len : a],
        stream[a : a + encr_len],
        stream[a + encr_len : e],
        stream[e : e + row.key_len],
        stream[e + row.key_len :],
    )


def with_ppk(prf: Transform, ppk: Secret, key: bytes) -> bytes:
    """SK_d, SK_pi or SK_pr with a postquantum preshared key: prf+(PPK, key) of the same length (RFC 8784 3)."""
    return prf_plus(prf, ppk.reveal(), key, len(key))


def child_keys(
    prf: Transform,
    sk_d: bytes,
    *,
    ni: bytes,
    nr: bytes,
    shared: bytes | None,
    encr: Transform | None,
    integ: Transform | None,
    more: bytes = b"",
) -> ChildKeys:
    """KEYMAT of a child SA pair. `ni`, `nr` are the nonces of the exchange that makes it (those of IKE_SA_INIT for the
    first child), `shared` the secret of a key exchange of its own, if any, `more` those of additional ones (RFC 9370
    2.2.4). LocalProtocolError for unknown algorithms.
    """
    encr_len, integ_len = _lengths(encr, integ)
    half = encr_len + integ_len
    stream = prf_plus(prf, sk_d, (shared or b"") + ni + nr + more, 2 * half)
    return ChildKeys(
        FlowKeys(Secret(stream[:encr_len]), Secret(stream[encr_len:half])),
        FlowKeys(Secret(stream[half : half + encr_len]), Secret(stream[half + encr_len :])),
    )
