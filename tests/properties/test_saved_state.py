# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved state is read as exactly what was written, or refused: never anything else, and never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conversations.lives import Play, play, rekey_ike
from tests.conversations.plans import SMB_REQID, Settings
from tests.conversations.scenes import A4, B4, tcp
from xfrmd.ike.saved import Saved, SavedChild, SavedLineage, decode, encode


def running() -> Play:
    """Two child SAs, a rekey of the IKE SA under way: a bit of everything."""
    one = play(settings=Settings(smb=True))
    one.scene.acquire(one.scene.a)
    one.run(2.0)
    one.scene.acquire(one.scene.a, one.scene.network.now, SMB_REQID, tcp(A4, B4, 445))
    one.run(2.0)
    ((_, event),) = rekey_ike(one)
    one.scene.network.tell(one.scene.a, event)
    return one


KEPT = running().mortals["A"].kept
CONTENTS = [content for _, content in sorted(KEPT.items())]


def values(saved: Saved) -> list[SavedLineage | SavedChild]:
    return [*saved.children, *saved.lineages]


def test_what_is_written_is_read_as_the_same_values() -> None:
    saved = decode(CONTENTS)
    assert (len(saved.lineages), len(saved.children)) == (1, 2)
    assert saved.lineages[0].ike_sas[0].task is not None
    assert sorted(encode(value).reveal() for value in values(saved)) == sorted(CONTENTS)


@given(st.data())
def test_a_part_that_is_something_else_is_refused_or_read_as_what_its_type_says(data: st.DataObject) -> None:
    plain: Any = json.loads(data.draw(st.sampled_from(CONTENTS)))
    place, keys = plain, [1]
    while True:
        key = keys[-1]
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
        keys.append(data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else list(range(len(inner))))))
    place[keys[-1]] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({}) | st.just([1])
    )
    content = json.dumps(plain).encode()
    try:
        saved = decode([content])
    except ValueError:
        return
    assert decode([encode(value).reveal() for value in values(saved)]) == saved


@given(st.binary(max_size=200))
def test_octets_that_are_no_record_are_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="a record that is none"):
        decode([octets])


def test_a_field_that_is_not_known_or_missing_is_refused() -> None:
    word, plain = json.loads(CONTENTS[0])
    for changed in (plain | {"more": 1}, dict(list(plain.items())[1:])):
        with pytest.raises(ValueError, match="a record that is none"):
            decode([json.dumps([word, changed]).encode()])
