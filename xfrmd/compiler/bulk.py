# SPDX-License-Identifier: GPL-2.0-or-later
"""Hundreds of thousands of specific filters into their layers, with as little work for each as can be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xfrmd.compiler.blocks import (
    DESTINATION,
    DESTINATION_MASKS,
    DPORT,
    NAMED,
    PROTOCOL,
    SOURCE,
    SOURCE_MASKS,
    SPORT,
    WHOLE_PORT,
    Shape,
    shaped,
)
from xfrmd.compiler.layers import Layer
from xfrmd.compiler.maps import LayerKey
from xfrmd.compiler.weight import class_of
from xfrmd.model.plan import SpecificFilter
from xfrmd.model.selector import ICMP, ICMPV6

_ANY: Final = 65535
_ICMPS: Final = (ICMP, ICMPV6)
Column = tuple[list[int], list[SpecificFilter]]
"""Values of blocks of one shape, and the filter of each."""


class _Columns:
    """Blocks by layer and shape."""

    def __init__(self) -> None:
        self.layers: dict[LayerKey, dict[Shape, Column]] = {}
        self._forms: dict[tuple[object, ...], Column] = {}
        """The same, by all that two filters of one layer and shape have in common at first sight."""

    def put(self, one: SpecificFilter) -> None:
        """File a filter whose ports are no single ones, block by block."""
        layer = self.layers.setdefault((one.inbound, class_of(one.weight)), {})
        for shape, value in shaped(one.selector):
            values, filters = layer.setdefault(shape, ([], []))
            values.append(value)
            filters.append(one)

    def column(self, form: tuple[object, ...], one: SpecificFilter, icmp: bool) -> Column:
        """The column of a form, made from the first filter that has it."""
        selector = one.selector
        family = selector.src.family
        mask = SOURCE_MASKS[family][selector.src.length] | DESTINATION_MASKS[family][selector.dst.length]
        mask |= NAMED if selector.protocol else 0
        mask |= 0 if selector.sport.is_any else WHOLE_PORT << SPORT
        mask |= 0 if selector.dport.is_any else WHOLE_PORT << DPORT
        layer = self.layers.setdefault((one.inbound, class_of(one.weight)), {})
        found = self._forms[form] = layer.setdefault(Shape(family, mask, icmp), ([], []))
        return found

    def fill(self, filters: Iterable[SpecificFilter]) -> None:
        """File all filters."""
        forms, source_at = self._forms, SOURCE
        for one in filters:
            src, dst, protocol, sport, dport = one[1]
            first, dfirst = sport[0], dport[0]
            swide, dwide = sport[1] - first, dport[1] - dfirst
            if (swide and swide != _ANY) or (dwide and dwide != _ANY):
                self.put(one)
                continue
            icmp = (protocol in _ICMPS) and not (swide and dwide)
            form = (one[0], src[0], src[2], dst[2], protocol != 0, icmp, swide, dwide, one[3])
            column = forms.get(form)
            if column is None:
                column = self.column(form, one, icmp)
            value = src[1] << source_at[src[0]] | dst[1] << DESTINATION | protocol << PROTOCOL
            column[0].append(value | first << SPORT | dfirst << DPORT)
            column[1].append(one)


def columns_of(filters: Iterable[SpecificFilter]) -> dict[LayerKey, dict[Shape, Column]]:
    """The blocks of filters by the layer of their direction and class, and by shape."""
    columns = _Columns()
    columns.fill(filters)
    return columns.layers


def sort_into_layers(filters: Iterable[SpecificFilter]) -> dict[LayerKey, Layer]:
    """All filters of a policy, each in the layer of its direction and class."""
    found: dict[LayerKey, Layer] = {}
    for key, shapes in columns_of(filters).items():
        found[key] = Layer()
        found[key].fill((shape, values, filters) for shape, (values, filters) in shapes.items())
    return found
