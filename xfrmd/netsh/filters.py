# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter of a store as an entry of a policy file's filter list."""

from __future__ import annotations

from xfrmd.model.addresses import Address
from xfrmd.model.selector import PROTOCOL_NAMES
from xfrmd.netsh.scalars import scalar
from xfrmd.netsh.store import Filter
from xfrmd.policy.words import AddressSpec, AddressWord


def address_text(spec: AddressSpec) -> str:
    """One end of a filter in the language's words; several prefixes are a range."""
    if isinstance(spec, AddressWord):
        return spec.value
    if isinstance(spec, str):
        return spec
    if len(spec) > 1:
        ordered = sorted(spec)
        return f"{ordered[0].address}-{Address(ordered[-1].family, ordered[-1].last)}"
    return str(spec[0])


def _between_braces(spec: AddressSpec) -> str:
    text = address_text(spec)
    return f'"{text}"' if ":" in text else text


def filter_line(one: Filter) -> str:
    """The filter between braces; what is the default is not said."""
    parts = [f"srcaddr: {_between_braces(one.src)}", f"dstaddr: {_between_braces(one.dst)}"]
    key = one.key
    if key.protocol:
        parts.append(f"protocol: {PROTOCOL_NAMES.get(key.protocol, str(key.protocol))}")
    if key.sport:
        parts.append(f"srcport: {key.sport}")
    if key.dport:
        parts.append(f"dstport: {key.dport}")
    if not key.mirrored:
        parts.append("mirrored: no")
    if one.description:
        parts.append(f"description: {scalar(one.description)}")
    return f"{{{', '.join(parts)}}}"
