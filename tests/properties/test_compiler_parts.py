# SPDX-License-Identifier: GPL-2.0-or-later
"""Weights, port blocks, cutting and the overlap index against their plain definitions."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from xfrmd import limits
from xfrmd.compiler.cut import subtract, subtract_all
from xfrmd.compiler.overlap import OverlapIndex
from xfrmd.compiler.ports import blocks, length, mask, split
from xfrmd.compiler.weight import AHEAD_GROUP, EXEMPT_PRIORITY, class_of, priority_of, range_length, weigh
from xfrmd.model.addresses import Prefix
from xfrmd.model.plan import Weight
from xfrmd.model.selector import ANY_PORT, Ports, Selector

QUICK = settings(deadline=None)  # a busy machine is no failure
PORTS = st.one_of(
    st.just(ANY_PORT),
    st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda ends: Ports(min(ends), max(ends))),
    st.integers(0, 65535).map(lambda port: Ports(port, port)),
)
LENGTHS = st.integers(0, 128)
WEIGHTS = st.builds(weigh, LENGTHS, LENGTHS, st.sampled_from([0, 6]), PORTS, PORTS)


@QUICK
@given(WEIGHTS, WEIGHTS)
def test_a_heavier_weight_is_never_asked_later(one: Weight, other: Weight) -> None:
    lighter, heavier = sorted((one, other))
    assert class_of(lighter) <= class_of(heavier)
    assert priority_of(class_of(heavier)) <= priority_of(class_of(lighter))


@QUICK
@given(WEIGHTS, WEIGHTS)
def test_a_heavier_class_is_asked_first_inside_our_band(one: Weight, other: Weight) -> None:
    first, second = class_of(one), class_of(other)
    for weight_class in (first, second):
        priority = priority_of(weight_class)
        assert priority - AHEAD_GROUP > EXEMPT_PRIORITY
        assert limits.PRIORITY_FIRST <= priority <= limits.PRIORITY_LAST
    if first > second:  # what stands ahead of the lighter one still stands behind the heavier one
        assert priority_of(first) < priority_of(second) - AHEAD_GROUP


@QUICK
@given(WEIGHTS)
def test_a_class_knows_both_prefix_lengths(weight: Weight) -> None:
    same = weight._replace(port_precision=0, ports_named=0, destination_port_named=0)
    turned = same._replace(source_prefix=same.prefix_sum - same.source_prefix)
    assert (class_of(same) == class_of(turned)) == (same == turned)


@QUICK
@given(st.integers(1, 2**32))
def test_a_range_weighs_as_the_smallest_prefix_that_could_hold_it(count: int) -> None:
    found = range_length(32, count)
    assert 1 << (32 - found) >= count
    assert found == 32 or 1 << (31 - found) < count


@QUICK
@given(PORTS)
def test_blocks_make_up_the_range(ports: Ports) -> None:
    found = blocks(ports)
    assert found[0].first == ports.first
    assert found[-1].last == ports.last
    assert all(left.last + 1 == right.first for left, right in pairwise(found))
    for block in found:
        assert block.first & mask(block) == block.first
        assert block.last == block.first | (mask(block) ^ 0xFFFF)
        assert mask(block).bit_count() == length(block)


def prefixes(family: int = 4) -> st.SearchStrategy[Prefix]:
    """Prefixes of a small world, so that they meet."""
    return st.builds(
        lambda value, cut: Prefix(family, (0x0A000000 | value) >> cut << cut, 32 - cut),
        st.integers(0, 31),
        st.integers(0, 5),
    )


NEAR_PORTS = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda ends: Ports(min(ends), max(ends)))
SELECTORS = st.builds(
    Selector, prefixes(), prefixes(), st.sampled_from([0, 6, 17]), NEAR_PORTS | st.just(ANY_PORT), NEAR_PORTS
)


@QUICK
@given(SELECTORS, st.lists(SELECTORS, max_size=4), st.data())
def test_subtraction_leaves_exactly_the_rest(selector: Selector, taken: list[Selector], data: st.DataObject) -> None:
    pieces = subtract_all(selector, taken)
    for index, piece in enumerate(pieces):
        assert selector.contains(piece)
        assert not any(piece.overlaps(one) for one in taken)
        assert not any(piece.overlaps(other) for other in pieces[index + 1 :])
    for one in (selector, *taken):  # packets at the corners of all that met
        src = Prefix(4, data.draw(st.sampled_from([one.src.value, one.src.last])), 32)
        dst = Prefix(4, data.draw(st.sampled_from([one.dst.value, one.dst.last])), 32)
        sport, dport = (data.draw(st.sampled_from([ports.first, ports.last])) for ports in (one.sport, one.dport))
        packet = Selector(src, dst, data.draw(st.sampled_from([6, 17, 50])), Ports(sport, sport), Ports(dport, dport))
        wanted = selector.contains(packet) and not any(other.contains(packet) for other in taken)
        assert any(piece.contains(packet) for piece in pieces) == wanted


@QUICK
@given(SELECTORS)
def test_nothing_is_left_of_a_selector_without_itself(selector: Selector) -> None:
    assert subtract(selector, selector) == ()


@QUICK
@given(st.lists(SELECTORS, max_size=12), st.lists(SELECTORS, min_size=1, max_size=4))
def test_the_index_finds_what_overlaps(stored: list[Selector], asked: list[Selector]) -> None:
    index: OverlapIndex[list[int]] = OverlapIndex()
    items = [[number] for number in range(len(stored))]
    half = len(stored) // 2
    for selector, item in zip(stored[:half], items[:half], strict=True):
        index.add(selector, item)
    for selector in asked:  # views exist before the second half comes
        index.find(selector)
    for selector, item in zip(stored[half:], items[half:], strict=True):
        index.add(selector, item)
    for selector in asked:
        wanted = [item for one, item in zip(stored, items, strict=True) if one.overlaps(selector)]
        assert sorted(index.find(selector)) == wanted


@QUICK
@given(SELECTORS)
def test_splitting_keeps_every_port(selector: Selector) -> None:
    parts = split(selector)
    assert sum(part.sport.width * part.dport.width for part in parts) == selector.sport.width * selector.dport.width
    assert all(selector.contains(part) for part in parts)
