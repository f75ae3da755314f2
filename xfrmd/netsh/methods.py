# SPDX-License-Identifier: GPL-2.0-or-later
"""Security methods as scripts write them, sorted by what can become of them here. The policy language knows the names;
what only Windows has is told apart here.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from xfrmd.netsh.values import BadValue
from xfrmd.policy.kinds import Kind
from xfrmd.policy.methods import MAIN_METHODS, QUICK_METHODS
from xfrmd.policy.nodes import ScalarNode
from xfrmd.policy.problems import BAD, Problems, quoted

_LIFETIME: Final = r"(?::(?:[0-9]{1,12}k)?/?(?:[0-9]{1,12}s)?)?"
_AH: Final = r"AH\[[A-Z0-9]+\]"
_ESP: Final = r"ESP\[[A-Z0-9-]+(?:,[A-Z0-9-]+)?\]"
_WITH_AH: Final = re.compile(rf"(?:{_AH}\+{_ESP}|{_ESP}\+{_AH}){_LIFETIME}", re.IGNORECASE | re.ASCII)
_UNPROVED: Final = re.compile(rf"ESP\[3?DES,NONE\]{_LIFETIME}", re.IGNORECASE | re.ASCII)
_NOTHING: Final = re.compile(rf"ESP\[NONE,NONE\]{_LIFETIME}", re.IGNORECASE | re.ASCII)
_NOT_BUILT: Final = (
    (_WITH_AH, "AH around ESP is not built"),
    (_UNPROVED, "ESP without integrity is not built, as packets could be changed on the way"),
)


class Method(NamedTuple):
    """One method as written."""

    text: str
    weak: bool = False
    """It needs `allow_weak`."""
    unfit: bool = False
    """It can be written down under `allow_weak`, and is never negotiated."""
    refused: str = ""
    """Why the policy language has no such method, "" when it has."""

    @property
    def is_ah(self) -> bool:
        """AH rather than ESP."""
        return self.text[:2].upper() == "AH"

    @property
    def usable(self) -> bool:
        """Can it be negotiated?"""
        return not self.unfit and not self.refused


def _read(kind: Kind, text: str) -> Method:
    problems = Problems("")
    found = kind.read(ScalarNode(1, 1, text, plain=True), problems)
    if found is BAD:
        first = problems.sorted()[0]
        raise BadValue(first.message, first.remedy)
    return Method(text, weak=bool(found.weak), unfit=any(one.unfit for one in found.weak))


def _quick(text: str) -> Method:
    if _NOTHING.fullmatch(text):
        raise BadValue(f"{quoted(text)} protects nothing", "name a cipher: ESP[3DES,SHA1]")
    for form, why in _NOT_BUILT:
        if form.fullmatch(text):
            return Method(text, refused=why)
    return _read(QUICK_METHODS, text)


def quick_methods(text: str) -> tuple[Method, ...]:
    """`qmsecmethods`: offers in order of preference."""
    found = tuple(map(_quick, _split(text, "ESP[3DES,SHA1]")))
    if not any(method.usable and not method.is_ah for method in found):
        return found
    return tuple(Method(one.text, refused=_ONE_PROTOCOL) if one.is_ah and not one.refused else one for one in found)


_ONE_PROTOCOL: Final = "a filter action has ESP or AH here, not both"


def main_methods(text: str) -> tuple[Method, ...]:
    """`mmsecmethods`: methods in order of preference."""
    return tuple(_read(MAIN_METHODS, word) for word in _split(text, "3DES-SHA1-3"))


def _split(text: str, example: str) -> list[str]:
    words = text.split()
    if not words:
        raise BadValue("no method stands here", f"write one, such as {example}, or leave the tag out")
    if len(words) > _MOST:
        raise BadValue(f"{len(words)} methods stand here", f"write {_MOST} at most")
    return words


_MOST: Final = 64
"""More than any policy has: peers are offered one after the other."""
