# SPDX-License-Identifier: GPL-2.0-or-later
"""Name constraints of an authority (RFC 5280 4.2.1.10): which names those below it may have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from xfrmd import limits
from xfrmd.credentials.certificates import Certificate
from xfrmd.credentials.names import same_rdns

_JUDGED: Final = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.DirectoryName)


def broken(issuer: Certificate, below: Sequence[Certificate]) -> str:
    """Which certificate below an authority (the end entity's first) has a name that it must not have, "" if none.

    Self-issued certificates in the middle are exempt (RFC 5280 6.1.4 (b)). A constraint on a kind of name that is not
    judged here forbids every name of that kind.
    """
    found = issuer.extension(x509.NameConstraints)
    if found is None:
        return ""
    permitted, excluded = _by_kind(found.permitted_subtrees), _by_kind(found.excluded_subtrees)
    comparisons = 0
    for place, one in enumerate(below):
        if place and one.parsed.subject == one.parsed.issuer:
            continue
        for name in _names(one):
            within, without = permitted[type(name)], excluded[type(name)]
            comparisons += len(within) + len(without)
            if comparisons > limits.NAME_COMPARISONS:
                return f"certificate {one.subject!r} has more names than can be compared with as many constraints"
            if not _allowed(name, within, without):
                return f"certificate {one.subject!r} must not have the name {_spoken(name)!r}"
    return ""


def _by_kind(subtrees: Iterable[x509.GeneralName] | None) -> defaultdict[type, list[x509.GeneralName]]:
    found: defaultdict[type, list[x509.GeneralName]] = defaultdict(list)
    for one in subtrees or ():
        found[type(one)].append(one)
    return found


def _names(one: Certificate) -> Iterator[x509.GeneralName]:
    found = one.extension(x509.SubjectAlternativeName)
    yield from found or ()
    if one.parsed.subject.rdns:
        yield x509.DirectoryName(one.parsed.subject)
    for attribute in one.parsed.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        if isinstance(attribute.value, str) and attribute.value.isascii():
            yield x509.RFC822Name(attribute.value)


def _allowed(name: x509.GeneralName, within: Sequence[x509.GeneralName], without: Sequence[x509.GeneralName]) -> bool:
    """`within`, `without`: the subtrees of the name's kind that are permitted and excluded."""
    if type(name) not in _JUDGED:
        return not within and not without
    if any(_holds(one, name) for one in without):
        return False
    return not within or any(_holds(one, name) for one in within)


def _holds(subtree: x509.GeneralName, name: x509.GeneralName) -> bool:
    """Does this subtree hold this name of the same kind?"""
    match subtree, name:
        case x509.DNSName(value=root), x509.DNSName(value=value):
            return _in_domain(value, root)
        case x509.RFC822Name(value=root), x509.RFC822Name(value=value):
            return _mail_within(value, root)
        case x509.IPAddress(value=IPv4Network() | IPv6Network() as net), x509.IPAddress(value=value):
            return isinstance(value, IPv4Address | IPv6Address) and value in net
        case x509.DirectoryName(value=root), x509.DirectoryName(value=value):
            return same_rdns(root.rdns, value.rdns[: len(root.rdns)])
    return False


def _in_domain(name: str, root: str) -> bool:
    name, root = name.casefold().rstrip("."), root.casefold().rstrip(".")
    if root.startswith("."):
        return name.endswith(root)
    return not root or name == root or name.endswith(f".{root}")


def _mail_within(address: str, root: str) -> bool:
    """A mailbox, a host, or with a dot ahead all hosts of a domain."""
    if "@" in root:
        box, _, host = root.rpartition("@")
        own_box, _, own_host = address.rpartition("@")
        return (box, host.casefold()) == (own_box, own_host.casefold())
    host = address.rpartition("@")[2].casefold()
    return host.endswith(root.casefold()) if root.startswith(".") else host == root.casefold()


def _spoken(name: x509.GeneralName) -> str:
    value = name.value
    text = value.rfc4514_string() if isinstance(value, x509.Name) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)[:256]
