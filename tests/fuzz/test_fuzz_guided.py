# SPDX-License-Identifier: GPL-2.0-or-later
"""What fuzzing that follows coverage has found worth keeping does no harm, and a short run of it goes on from there."""

from __future__ import annotations

import importlib.util

import pytest

from tests.fuzz.guided import TARGETS, kept, run

RUNS = 3000
SLOW = {"moving": 300, "redirect": 300, "resume": 1000}
"""Whole engines, connected anew now and then."""


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_kept_is_refused_or_read(target: str) -> None:
    inputs = kept(target)
    assert len(inputs) >= 2
    check = TARGETS[target]()
    for one in inputs:
        try:
            check(one)
        except Exception as error:  # noqa: BLE001 (the test says which one it was)
            pytest.fail(f"{target}: {error!r}\n{one.hex()}")


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install atheris")
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run(target: str) -> None:
    status, words = run(target, SLOW.get(target, RUNS), 60, save=False)
    assert status == 0, words
    assert words.startswith("Done")
