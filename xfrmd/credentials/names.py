# SPDX-License-Identifier: GPL-2.0-or-later
"""Identities that a certificate carries (RFC 4945 3.1, 5.1.3.6), and distinguished names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography import x509

from xfrmd.credentials.certificates import Certificate, text_of
from xfrmd.model.pad import Identity, IdType

_SHOWN: Final = 64
_BETWEEN: Final = re.compile(r"(?<!\\), +")


@lru_cache(maxsize=64)
def identities(one: Certificate) -> tuple[Identity, ...]:
    """All of them, the best to show first: host names, mail addresses, IP addresses, the subject. Our own certificates
    are asked at each handshake.
    """
    found = one.extension(x509.SubjectAlternativeName)
    names = tuple(found) if found is not None else ()
    made = [Identity(IdType.FQDN, name.value.encode()) for name in names if isinstance(name, x509.DNSName)]
    made += [Identity(IdType.RFC822_ADDR, name.value.encode()) for name in names if isinstance(name, x509.RFC822Name)]
    for name in names:
        if isinstance(name, x509.IPAddress):
            packed = getattr(name.value, "packed", b"")
            made.append(Identity(IdType.IPV4_ADDR if len(packed) == 4 else IdType.IPV6_ADDR, packed))
    if one.parsed.subject.rdns:
        made.append(Identity(IdType.DER_ASN1_DN, one.parsed.subject.public_bytes()))
    return tuple(made)


def carries(one: Certificate, wanted: Identity) -> bool:
    """Does the certificate speak for this identity? Wildcards speak for nobody."""
    return any(same(wanted, own) for own in identities(one))


def same(one: Identity, other: Identity) -> bool:
    """Are two identities one? Host names and the host part of mail addresses know no case; distinguished names are
    compared attribute by attribute, whatever kind of string holds them.
    """
    if one.type != other.type:
        return False
    if one.value == other.value:
        return True
    if one.type == IdType.FQDN:
        return one.value.lower() == other.value.lower()
    if one.type == IdType.RFC822_ADDR:
        (box, _, host), (other_box, _, other_host) = one.value.rpartition(b"@"), other.value.rpartition(b"@")
        return box == other_box and host.lower() == other_host.lower()
    if one.type == IdType.DER_ASN1_DN:
        first, second = _name(one.value), _name(other.value)
        return first is not None and second is not None and same_rdns(first.rdns, second.rdns)
    return False


def same_rdns(one: Iterable[x509.RelativeDistinguishedName], other: Iterable[x509.RelativeDistinguishedName]) -> bool:
    """Two sequences of relative names, compared as RFC 5280 7.1 wants: without regard to case and doubled spaces."""
    return [_folded(rdn) for rdn in one] == [_folded(rdn) for rdn in other]


def _folded(rdn: x509.RelativeDistinguishedName) -> frozenset[tuple[str, str | bytes]]:
    return frozenset(
        (a.oid.dotted_string, " ".join(a.value.casefold().split()) if isinstance(a.value, str) else a.value)
        for a in rdn
    )


def _name(der: bytes) -> x509.Name | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return x509.Name.from_bytes(der)
    except Exception:  # noqa: BLE001 (octets of a stranger; the library names no family of errors)
        return None


def distinguished(text: str) -> Identity:
    """A distinguished name as it is shown, "C=DE, O=Example, CN=host": in the order of the certificate. ValueError for
    what is none.
    """
    reversed_ = x509.Name.from_rfc4514_string(_BETWEEN.sub(",", text))
    return Identity(IdType.DER_ASN1_DN, x509.Name(reversed([*reversed_.rdns])).public_bytes())


def printable(octets: bytes) -> str:
    """Octets of a stranger that are mostly text, for people."""
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in octets[:_SHOWN])


def spoken(identity: Identity | None, unknown: str = "") -> str:
    """An identity for people. `unknown` stands for none."""
    if identity is None:
        return unknown
    name = _name(identity.value) if identity.type == IdType.DER_ASN1_DN else None
    return text_of(name) if name is not None else str(identity)
