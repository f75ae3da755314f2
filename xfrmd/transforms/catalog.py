# SPDX-License-Identifier: GPL-2.0-or-later
"""All transforms by name and by number. Names are compared without case, `-` and `_`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from xfrmd.model.proposals import ADDITIONAL, Transform, TransformType
from xfrmd.transforms import encr, esn, integ, ke
from xfrmd.transforms import prf as prf_table
from xfrmd.transforms.encr import EncrRow
from xfrmd.transforms.esn import EsnRow
from xfrmd.transforms.integ import IntegRow
from xfrmd.transforms.ke import KeRow
from xfrmd.transforms.prf import PrfRow

_ENCR: Final = {row.transform: row for row in encr.ROWS}
_PRF: Final = {row.transform: row for row in prf_table.ROWS}
_INTEG: Final = {row.transform: row for row in integ.ROWS}
_KE: Final = {row.transform: row for row in (*ke.ROWS, *ke.KEMS)}
_ESN: Final = {row.transform: row for row in esn.ROWS}


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _by_name(names: Iterable[tuple[str, Transform]], aliases: Mapping[str, str]) -> dict[str, Transform]:
    found = {_fold(name): transform for name, transform in names}
    return found | {_fold(alias): found[_fold(name)] for alias, name in aliases.items()}


_HASH_ALIASES: Final = {"SHA": "SHA1", "HMAC-SHA1": "SHA1"}
_ENCR_NAMES: Final = _by_name(((r.name, r.transform) for r in encr.ROWS), {"NONE": "NULL"})
_PRF_NAMES: Final = _by_name(((r.name, r.transform) for r in prf_table.ROWS), _HASH_ALIASES)
_INTEG_NAMES: Final = _by_name(((r.name, r.transform) for r in integ.ROWS), _HASH_ALIASES)
_KE_NAMES: Final = _by_name(((r.name, r.transform) for r in ke.ROWS), ke.ALIASES)

_ADDITIONAL_NAMES: Final = _by_name(((r.name, r.transform) for r in (*ke.ROWS, *ke.KEMS)), ke.ALIASES)

_TYPE_NAMES: Final = {int(t): t.name for t in TransformType}
_NAMES: Final[dict[Transform, str]] = {
    transform: row.name for table in (_ENCR, _PRF, _INTEG, _KE, _ESN) for transform, row in table.items()
}
_WEAK: Final = frozenset(
    row.transform for rows in (encr.ROWS, prf_table.ROWS, integ.ROWS, ke.ROWS) for row in rows if row.weak
)


def is_weak(transform: Transform) -> bool:
    """Is it one of Windows Server 2003's, to be offered only where the policy allows weak algorithms?"""
    return transform in _WEAK


def _find(kind: str, name: str, names: Mapping[str, Transform], rows: Iterable[Transform]) -> Transform:
    found = names.get(_fold(name))
    if found is None:
        raise ValueError(
            f"{name!r} is no {kind} algorithm; known are {', '.join(_NAMES[row] for row in rows if row not in _WEAK)}"
        )
    return found


def encryption(name: str) -> Transform:
    """The encryption transform of a name such as "AES128-GCM" or "aes256". ValueError names the known ones."""
    return _find("encryption", name, _ENCR_NAMES, _ENCR)


def integrity(name: str) -> Transform:
    """The integrity transform of a name such as "SHA256". ValueError names the known ones."""
    return _find("integrity", name, _INTEG_NAMES, _INTEG)


def prf(name: str) -> Transform:
    """The pseudorandom function of a name such as "SHA256". ValueError names the known ones."""
    return _find("pseudorandom function", name, _PRF_NAMES, _PRF)


def key_exchange(name: str) -> Transform:
    """The key exchange transform of a name such as "X25519", "DHGroup14" or netsh's "3"; else ValueError."""
    return _find("key exchange", name, _KE_NAMES, [row.transform for row in ke.ROWS])


def additional_key_exchange(name: str) -> Transform:
    """The transform, as one of key exchange, of a method that may stand beside another; else ValueError."""
    return _find("key exchange", name, _ADDITIONAL_NAMES, _KE)


def method_of(transform: Transform) -> Transform:
    """The key exchange that an additional one is; any other transform as it is."""
    return transform._replace(type=TransformType.KE) if transform.type in ADDITIONAL else transform


def name_of(transform: Transform) -> str:
    """The name of a transform, for people; a number such as "ENCR 99/128" for one that has no row here."""
    known = _NAMES.get(method_of(transform))
    if known is not None:
        return known
    kind = _TYPE_NAMES.get(transform.type, f"TYPE {transform.type}")
    return f"{kind} {transform.id}/{transform.key_bits}" if transform.key_bits else f"{kind} {transform.id}"


def encr_row(transform: Transform) -> EncrRow | None:
    """The row of an encryption transform, None for one we do not have."""
    return _ENCR.get(transform)


def prf_row(transform: Transform) -> PrfRow | None:
    """The row of a pseudorandom function, None for one we do not have."""
    return _PRF.get(transform)


def integ_row(transform: Transform) -> IntegRow | None:
    """The row of an integrity transform, None for one we do not have."""
    return _INTEG.get(transform)


def ke_row(transform: Transform) -> KeRow | None:
    """The row of a key exchange transform, an additional one as well; None for one we do not have."""
    return _KE.get(method_of(transform))


def esn_row(transform: Transform) -> EsnRow | None:
    """The row of a sequence number transform, None for one we do not have."""
    return _ESN.get(transform)
