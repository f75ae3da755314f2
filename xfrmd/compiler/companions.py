# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements for maps that the compiler leaves empty: what is decided at run time, between two hosts each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xfrmd.compiler.blocks import fields_of, packer, possible, shaped
from xfrmd.model.nft import ElementKey, NftMap
from xfrmd.model.selector import Selector


def elements(maps: Iterable[NftMap], selector: Selector, verdict: str) -> Mapping[str, Mapping[ElementKey, str]]:
    """Elements by map that give the packets of a selector between two hosts this verdict; in maps that have exactly
    its fields.
    """
    found: dict[str, dict[ElementKey, str]] = {}
    by_fields = {one.fields: one.name for one in maps}
    for shape, value in shaped(selector):
        name = by_fields.get(fields_of(shape))
        if name is not None and possible(shape, value):
            found.setdefault(name, {}).update(dict.fromkeys(packer(shape)((value,)), verdict))
    return found
