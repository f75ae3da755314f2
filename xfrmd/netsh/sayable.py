# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of ours as values of netsh's tags. What netsh cannot say raises BadValue with the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from xfrmd.model.addresses import Address
from xfrmd.model.proposals import Proposal, ProtocolId, TransformType
from xfrmd.model.secret import Secret
from xfrmd.netsh.script import STRANGE
from xfrmd.netsh.values import ADDRESS_WORDS, BadValue
from xfrmd.policy.methods import DEFAULT_MAIN_METHODS, DEFAULT_QUICK_METHODS
from xfrmd.policy.words import AddressSpec, AddressWord
from xfrmd.transforms import catalog

_BARE: Final = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_WORDS: Final = {word: name if name in ("me", "any") else name.upper() for name, word in ADDRESS_WORDS.items()}
_GROUPS: Final = {2: "2", 14: "3"}
_NO_METHOD: Final = "write methods of Windows Server 2003 under allow_weak: yes, such as "


def text(value: str, what: str) -> str:
    """Text behind a tag, in quotation marks where it needs them."""
    if '"' in value or "\n" in value or STRANGE.search(value):
        message = f"{what} has a quotation mark, line break or control character"
        raise BadValue(message, "take it out: netsh cannot say it")
    if not value.strip():
        raise BadValue(f"{what} is blank", "write something that can be seen")
    if value.endswith("\\"):
        raise BadValue(f"{what} ends with a backslash", "take it out: it would hide the closing quotation mark")
    return in_marks(value)


def in_marks(value: str) -> str:
    """Text that netsh can say, in quotation marks where it needs them."""
    return value if _BARE.fullmatch(value) else f'"{value}"'


def secret(value: Secret) -> str:
    """A shared secret. Nothing of it is told."""
    if not len(value):
        raise BadValue("the shared secret could not be read", "run this as a user who may read it")
    try:
        decoded = value.reveal().decode()
    except UnicodeDecodeError:
        remedy = "make one of letters and digits: openssl rand -base64 32"
        raise BadValue("the shared secret is no text", remedy) from None
    return text(decoded, "the shared secret")


def address(spec: AddressSpec, side: str) -> tuple[str, str]:
    """One end of a filter, which is one block, a word or a name: its address and its mask, "" where none stands."""
    if isinstance(spec, AddressWord):
        return _WORDS[spec], ""
    if isinstance(spec, str):
        return spec, ""
    (prefix,) = spec
    if prefix.family == 4 and prefix.length == 0:
        raise BadValue("netsh has no word for all addresses of IPv4 alone", f"write {side}addr: any")
    if prefix.is_host:
        return str(prefix.address), ""
    return str(prefix.address), str(Address(4, prefix.mask)) if prefix.family == 4 else str(prefix.length)


def _names(proposal: Proposal) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    for one in proposal.transforms:
        found.setdefault(one.type, []).append(catalog.name_of(one))
    return found


def _quick(proposal: Proposal) -> str:
    names, ah = _names(proposal), proposal.protocol is ProtocolId.AH
    limits = f":{proposal.lifetime.kilobytes}k/{proposal.lifetime.seconds}s"
    if ah and names.get(TransformType.INTEG) == ["SHA1"]:
        return f"AH[SHA1]{limits}"
    if names.get(TransformType.ENCR) != ["3DES"] or names.get(TransformType.INTEG) != ["SHA1"]:
        shown = ",".join([*names.get(TransformType.ENCR, []), *names.get(TransformType.INTEG, [])])
        known = "AH[SHA1]" if ah else "ESP[3DES,SHA1]"
        raise BadValue(f"netsh has no quick mode method {proposal.protocol.name}[{shown}]", f"{_NO_METHOD}{known}")
    return f"ESP[3DES,SHA1]{limits}"


def _main(proposal: Proposal) -> str:
    names = _names(proposal)
    groups = [_GROUPS.get(one.id) for one in proposal.transforms if one.type == TransformType.KE]
    if (
        names.get(TransformType.ENCR) != ["3DES"]
        or names.get(TransformType.PRF) != ["SHA1"]
        or None in groups
        or proposal.additional
    ):
        kinds = (TransformType.ENCR, TransformType.PRF, TransformType.KE)
        shown = "-".join(name for kind in kinds for name in names.get(kind, []))
        shown = "+".join([shown, *map(catalog.name_of, proposal.additional)])
        raise BadValue(f"netsh has no main mode method {shown}", f"{_NO_METHOD}3DES-SHA1-3")
    return f"3DES-SHA1-{groups[0]}"


def are_default_quick(proposals: tuple[Proposal, ...]) -> bool:
    """Are these the methods of an action that names none? As in netsh, they are not said."""
    return proposals == DEFAULT_QUICK_METHODS.proposals


def are_default_main(proposals: tuple[Proposal, ...]) -> bool:
    """Are these the methods of a policy that names none, whatever its lifetime?"""
    return [one.transforms for one in proposals] == [one.transforms for one in DEFAULT_MAIN_METHODS.proposals]


def quick_methods(proposals: tuple[Proposal, ...]) -> str:
    """`qmsecmethods`."""
    return in_marks(" ".join(map(_quick, proposals)))


def main_methods(proposals: tuple[Proposal, ...]) -> str:
    """`mmsecmethods`."""
    return in_marks(" ".join(map(_main, proposals)))
