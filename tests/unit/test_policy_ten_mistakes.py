# SPDX-License-Identifier: GPL-2.0-or-later
"""One file with ten mistakes reports exactly these ten, each with its place and its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.model.source import Severity
from xfrmd.policy import PolicyErrors, load

TEN_MISTAKES = """\
version: 1
filterlists:
  - name: smb
    filters:
      - {srcaddr: mee, dstaddr: any, protocol: tcp, dstport: 445}
      - {srcaddr: me, dstaddr: 10.1.0.5/16}
      - {srcaddr: 10.1.0.1, dstaddr: "fd00::1"}
      - {srcaddr: me, dstaddr: any, dstport: 80}
      - {srcaddr: me, dstaddr: any, protocol: udp, srcport: 2000-1000}
filteractions:
  - name: require
    action: negotiate
    qmsecmethods: ["ESP[3DES,SHA256]"]
policies:
  - name: Servers
    assign: maybe
    mmlifetime: 0480
    rules:
      - name: protect smb
        filterlist: sbm
        filteraction: require
"""

EXPECTED = [
    (5, 19, "'mee' is no address", "did you mean 'me'?"),
    (6, 32, "bits behind the prefix /16 are set", "10.1.0.0/16 for the whole subnet, or 10.1.0.5 for the one host"),
    (7, 38, "IPv4 and the other IPv6", "one IP version"),
    (8, 46, "dstport needs a protocol that has ports", "protocol: tcp"),
    (9, 61, "ends before it begins", "write 1000-2000"),
    (13, 20, "3DES is too weak", "AES128-GCM"),
    (16, 13, "'maybe' is not yes or no", "write yes or no"),
    (17, 17, "0480 may be read as octal", "write 480"),
    (19, 9, "a rule that negotiates needs a psk", "psk: {file: /etc/xfrmd/psk}"),
    (20, 21, "there is no filter list 'sbm'", "did you mean 'smb'?"),
]


def test_all_ten_are_reported_with_place_and_remedy() -> None:
    with pytest.raises(PolicyErrors) as caught:
        load(TEN_MISTAKES, "ten.yaml", lambda _: b"a shared secret of some length")
    problems = caught.value.problems
    assert [(p.at.file, p.at.line, p.at.column) for p in problems] == [("ten.yaml", *row[:2]) for row in EXPECTED]
    for problem, (_, _, message, remedy) in zip(problems, EXPECTED, strict=True):
        assert message in problem.message
        assert remedy in problem.remedy
        assert problem.severity is Severity.ERROR


def test_check_tells_them_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, facts = tmp_path / "ten.yaml", tmp_path / "facts.yaml"
    policy.write_text(TEN_MISTAKES)
    facts.write_text("")
    assert run(PROGRAM, ["--json", "check", str(policy), "--facts", str(facts)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 1
    assert answer["errors"] == 10
    assert [(p["line"], p["column"]) for p in answer["problems"]] == [row[:2] for row in EXPECTED]
    assert all(p["file"] == str(policy) and p["remedy"] and p["severity"] == "error" for p in answer["problems"])

    assert run(PROGRAM, ["check", str(policy), "--facts", str(facts)]) == 1
    text = capsys.readouterr().out
    for line, column, message, remedy in EXPECTED:
        assert f"{policy}:{line}:{column}: error: " in text
        assert message in text
        assert remedy in text
