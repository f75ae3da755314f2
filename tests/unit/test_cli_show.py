# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers of the daemon for people: no names of ours, no gaps."""

from __future__ import annotations

import io
from typing import Any

from xfrmd.cli import show
from xfrmd.cli.output import Output
from xfrmd.daemon.steps import PrepareTable, Step

OUTPUT = Output(io.StringIO(), io.StringIO())
APPLIED: dict[str, Any] = {
    "policy": "P",
    "filters": 2,
    "warnings": [],
    "kernel": {"state": "equal", "reasons": []},
    "stores": [],
}
CONNECTING: dict[str, Any] = {
    "remote": "10.1.0.9:500",
    "local": "10.1.0.5:500",
    "spi_local": "5c68ba6047bc9d57",
    "initiator": True,
    "state": "connecting",
    "remote_id": "10.1.0.9",
    "rule": "r",
    "transforms": [],
    "age": 4.0,
    "rekey_in": None,
}


def test_what_was_done_to_the_kernel_is_told_in_words() -> None:
    for step in set(Step.__args__) - {PrepareTable}:  # what only gets ready changes nothing
        shown = show.applied({**APPLIED, "changes": {step.__name__: 3}}, OUTPUT)
        assert ": 3)" in shown
        assert step.__name__ not in shown


def test_an_ike_sa_without_methods_leaves_no_gap() -> None:
    shown = show.sas({"ike_sas": [CONNECTING], "child_sas": []}, OUTPUT)
    assert "no methods agreed yet" in shown
    assert "; ;" not in shown
