# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps in nft's words, for tests."""

from __future__ import annotations

from xfrmd.model.nft import ElementKey, KeyField, NftMap, pack_key


def fields_of(expression: str) -> tuple[KeyField, ...]:
    """The fields of `ip saddr & 255.0.0.0 . meta l4proto`."""
    return tuple(map(KeyField.parse, expression.split(" . ")))


def key(expression: str, text: str) -> ElementKey:
    """The key that nft prints as `10.0.0.0 . 6`."""
    fields = fields_of(expression)
    return pack_key(fields, [field.value(part) for field, part in zip(fields, text.split(" . "), strict=True)])


def nft_map(name: str, expression: str, elements: dict[str, str]) -> NftMap:
    """A map asked by this expression, with elements as nft prints them."""
    return NftMap(name, fields_of(expression), {key(expression, text): verdict for text, verdict in elements.items()})
