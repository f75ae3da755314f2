# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts of netsh, the policy that comes of each, all that is told, and the script that the policy becomes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.netsh_cases import placeless
from xfrmd.netsh.exporting import export_script
from xfrmd.netsh.importing import import_script
from xfrmd.policy import load
from xfrmd.policy.resolve import blank

HERE = Path(__file__).parent / "netsh"
CASES = sorted(HERE.glob("*/script.*"), key=str)
RENEW = os.environ.get("XFRMD_GOLDEN") == "renew"


def outputs(script: Path) -> dict[str, str]:
    made = import_script(script.read_bytes(), script.name)
    policies = load(made.text, "policy.yaml", blank)
    back = export_script(policies)
    again = load(import_script(back.text, "back.txt").text, "again.yaml", blank)
    assert placeless(again) == placeless(policies)
    return {
        "policy.yaml": made.text,
        "told.txt": "".join(f"{problem}\n" for problem in made.problems),
        "back.txt": back.text,
        "told-back.txt": "".join(f"{problem}\n" for problem in back.problems),
    }


@pytest.mark.parametrize("script", CASES, ids=lambda script: script.parent.name)
def test_a_golden_script(script: Path) -> None:
    for file, text in outputs(script).items():
        golden = script.parent / file
        if RENEW:
            golden.write_text(text)
        assert text == golden.read_text(), f"{golden}: review, then XFRMD_GOLDEN=renew"


def test_there_are_scripts() -> None:
    assert CASES
    assert not RENEW, "the files are renewed: review them, then run again without XFRMD_GOLDEN"
