# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents as trees of light nodes: places, plain and quoted text, and a collector that comes back."""

from __future__ import annotations

import gc

import pytest

from tests.unit.policy_text import GOOD, read
from xfrmd.policy import PolicyErrors
from xfrmd.policy.composer import compose
from xfrmd.policy.nodes import MappingNode, ScalarNode, SequenceNode
from xfrmd.policy.problems import Problems


def test_each_piece_knows_its_place_and_whether_it_was_quoted() -> None:
    root = compose("a: [x, 'null']\nbc:\n  - {d: null}\n", Problems("f"))
    assert isinstance(root, MappingNode)
    (_, first), (key, second) = root.pairs
    assert isinstance(first, SequenceNode)
    assert isinstance(key, ScalarNode)
    assert (key.value, key.line, key.column) == ("bc", 2, 1)
    x, quoted = first.items
    assert isinstance(quoted, ScalarNode)
    assert [(one.line, one.column) for one in (x, quoted)] == [(1, 5), (1, 8)]
    assert not quoted.is_null
    assert isinstance(second, SequenceNode)
    assert isinstance(second.items[0], MappingNode)
    inner = second.items[0].pairs[0][1]
    assert isinstance(inner, ScalarNode)
    assert inner.is_null


def test_a_word_that_comes_again_is_kept_once() -> None:
    root = compose("- some word\n- some word\n", Problems("f"))
    assert isinstance(root, SequenceNode)
    first, again = root.items
    assert isinstance(first, ScalarNode)
    assert isinstance(again, ScalarNode)
    assert first.value is again.value


@pytest.mark.parametrize("text", [GOOD, "version: 2"], ids=["good", "bad"])
@pytest.mark.parametrize("on", [True, False])
def test_the_cycle_collector_is_afterwards_as_it_was(text: str, on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        try:
            read(text)
        except PolicyErrors:
            assert text is not GOOD
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()
