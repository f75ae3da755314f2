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
    "authenticated": {"local": None, "remote": None},
    "ppk": None,
    "extensions": [],
}


def test_what_was_done_to_the_kernel_is_told_in_words() -> None:
    for step in set(Step.__args__) - {PrepareTable}:  # what only gets ready changes nothing
        shown = show.applied({**APPLIED, "changes": {step.__name__: 3}}, OUTPUT)
        assert ": 3)" in shown
        assert step.__name__ not in shown


def test_filters_are_told_by_what_they_decided() -> None:
    one = {
        "packets": 1200,
        "octets": 2048,
        "rule": "web",
        "filter_list": "www",
        "filter_action": "let",
        "action": "permit",
        "filter": "me <-> any tcp 80",
        "weight": [32, 32, 0, 1, 1, 1, 0],
        "at": "/p.yaml:3:9",
        "store": "local",
    }
    answer = {"filters": [one], "count": 2, "unused": 1, "packets": 1200, "octets": 2048}
    assert show.filters(answer, OUTPUT).splitlines() == [
        "1,200 packets 2.0 KiB  permit  me <-> any tcp 80",
        "    rule 'web', filter list 'www' at /p.yaml:3:9",
        "2 filters decided 1,200 packets, 2.0 KiB; 1 of them none",
    ]
    assert show.filters({**answer, "filters": []}, OUTPUT).count("\n") == 0


def test_an_ike_sa_without_methods_leaves_no_gap() -> None:
    shown = show.sas({"ike_sas": [CONNECTING], "child_sas": []}, OUTPUT)
    assert "no methods agreed yet" in shown
    assert "; ;" not in shown


def test_whose_ike_a_peer_has_is_shown_where_it_tells() -> None:
    shown = show.sas({"ike_sas": [{**CONNECTING, "vendor": "libreswan 4.10"}], "child_sas": []}, OUTPUT)
    assert " (libreswan 4.10) by rule " in shown


def test_what_an_ike_sa_can_beyond_the_least_is_shown() -> None:
    extensions = ["moves", "follows", "fragments", "crash-token"]
    shown = show.sas({"ike_sas": [{**CONNECTING, "extensions": extensions}], "child_sas": []}, OUTPUT)
    assert (
        "  with MOBIKE (we may move), MOBIKE (the peer may move), IKE fragments, quick crash detection"
        in shown.splitlines()
    )
    assert "with" not in show.sas({"ike_sas": [CONNECTING], "child_sas": []}, OUTPUT)


def test_both_sides_of_a_failure_stand_below_one_another() -> None:
    failure = {
        "peer": "10.1.0.2",
        "failures": 1,
        "failed_at": 0.0,
        "code": "no-proposal",
        "message": "no common proposal with 10.1.0.2 for the IKE SA (rule 'r'): ours A; theirs B; first difference: C",
        "remedy": "do",
        "fields": {"ours": "A", "theirs": "B", "difference": "C"},
    }
    assert [line.strip() for line in show._failure(failure, 5.0, OUTPUT)] == [
        "10.1.0.2  5s ago: no-proposal",
        "no common proposal with 10.1.0.2 for the IKE SA (rule 'r')",
        "ours:   A",
        "theirs: B",
        "first difference: C",
        "remedy: do",
    ]
