# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of a filter: an address tag and its mask tag, together."""

from __future__ import annotations

from typing import Any, Final

from xfrmd.model.addresses import BITS, Prefix
from xfrmd.netsh.arguments import Arguments
from xfrmd.netsh.session import Session
from xfrmd.netsh.values import SERVERS, DnsName, RawAddress, RawEnd
from xfrmd.policy.addresses import mask_length
from xfrmd.policy.words import AddressSpec, AddressWord

_WHOLE: Final = frozenset({"32", "255.255.255.255"})
_NOTHING: Final = frozenset({"0", "0.0.0.0"})  # noqa: S104 (a mask)


def end(arguments: Arguments, side: str, session: Session) -> AddressSpec | None:
    """What `srcaddr` and `srcmask` (or the destination's) mean together. None (reported) when they contradict."""
    raw: RawEnd = arguments[f"{side}addr"]
    mask: str | None = arguments.get(f"{side}mask")
    if isinstance(raw, RawAddress):
        return _literal(raw, mask, arguments, side, session)
    allowed = _NOTHING if raw is AddressWord.ANY else _WHOLE
    if mask is not None and mask not in allowed:
        what = "a range" if isinstance(raw, tuple) else f"{side}addr={_shown(raw)}"
        session.error(arguments.place(f"{side}mask"), f"a mask has no meaning beside {what}", f"remove {side}mask")
        return None
    return raw.name if isinstance(raw, DnsName) else raw


def _shown(raw: Any) -> str:
    return raw.name if isinstance(raw, DnsName) else str(raw.value)


def _literal(
    raw: RawAddress, mask: str | None, arguments: Arguments, side: str, session: Session
) -> AddressSpec | None:
    bits = BITS[raw.family]
    length = bits if mask is None else mask_length(mask, raw.family)
    if length is None:
        session.error(
            arguments.place(f"{side}mask"), f"{mask} is no mask for {side}addr", f"write a mask of {bits} bits"
        )
        return None
    if raw.value == 0 and raw.family == 4 and length in (0, bits):
        # Windows stores its words so: 0.0.0.0 with no bit is any, with all bits it is me.
        word = AddressWord.ME if length else AddressWord.ANY
        session.warning(
            arguments.place(f"{side}addr"), f"0.0.0.0 is Windows' way to say {word.value}", "write the word"
        )
        return word
    shift = bits - length
    prefix = Prefix(raw.family, raw.value >> shift << shift, length)
    if prefix.value != raw.value:
        message = f"bits behind the mask are set: Windows does not look at them, so this is {prefix}"
        session.warning(arguments.place(f"{side}addr"), message, "write the subnet's address, or leave the mask out")
    return (prefix,)


def pair(arguments: Arguments, session: Session) -> tuple[AddressSpec, AddressSpec] | None:
    """Both ends, None (reported) when something is wrong with them."""
    src, dst = end(arguments, "src", session), end(arguments, "dst", session)
    if src is None or dst is None:
        return None
    for one, other in ((src, dst), (dst, src)):
        if one in SERVERS and other is not AddressWord.ME:
            remedy = "write me at the other end"
            session.error(arguments.at, "beside a kind of server, the other end is this computer", remedy)
            return None
    return src, dst
