# SPDX-License-Identifier: GPL-2.0-or-later
"""`xfrmctl diff`: of files, and against a daemon that is here a function."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.policy_text import GOOD, changed
from xfrmd.cli import differing
from xfrmd.cli.output import Output
from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.control.exits import ExitCode

FACTS = "interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/32]}]\n"
MOVED = """\
new-clear, unprotected: may pass in the clear now, and could not before
  out 10.1.0.5 -> {any but 224.0.0.0/4, 255.255.255.255}:445 tcp
  in  any:445 -> 10.1.0.5 tcp
      was negotiate by 'protect smb' at old.yaml:5:9
      now pass: no filter matches
new-clear, gained: may pass in the clear now, and could not before
  out 10.1.0.5 -> {224.0.0.0/4, 255.255.255.255}:445 tcp
      was block by 'protect smb' at old.yaml:5:9
      now pass: no filter matches
lost: passed, and is dropped now
  out 10.1.0.5 -> {224.0.0.0/4, 255.255.255.255}:446 tcp
      was pass: no filter matches
      now block by 'protect smb' at new.yaml:5:9
new-protected: passed unprotected, and is negotiated now
  out 10.1.0.5 -> {any but 224.0.0.0/4, 255.255.255.255}:446 tcp
  in  any:446 -> 10.1.0.5 tcp
      was pass: no filter matches
      now negotiate by 'protect smb' at new.yaml:5:9
6 changes in traffic: 3 new-clear, 2 unprotected, 1 lost, 1 gained, 2 new-protected
"""


class Desk:
    """Two policies in the directory that is worked in, and the program to use on them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory, self._capsys = directory, capsys
        self.write("old.yaml", GOOD)
        self.write("facts.yaml", FACTS)

    def write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)

    def diff(self, new: str, *words: str) -> tuple[int, str, str]:
        self.write("new.yaml", new)
        code = run(PROGRAM, ["diff", "old.yaml", "new.yaml", "--facts", "facts.yaml", *words])
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_what_means_the_same_is_no_difference(desk: Desk) -> None:
    same = "# other lines, other names\n" + GOOD.replace("smb", "files").replace("of some length", "and another")
    assert desk.diff(same) == (0, "no difference: all traffic fares alike\n", "")
    assert desk.diff(same, "--fail-on", "any")[0] == 0


def test_a_port_that_moved_is_told_as_traffic(desk: Desk) -> None:
    assert desk.diff(changed("dstport: 445", "dstport: 446")) == (0, MOVED, "")


def test_what_is_negotiated_otherwise_is_told_field_by_field(desk: Desk) -> None:
    action = "action: negotiate\n    qmpfs: yes\n    qmsecmethods: ['ESP[AES256-GCM]:1000k/600s']"
    _, out, _ = desk.diff(changed("action: negotiate", action))
    assert "changed: is negotiated as before, but otherwise" in out
    assert "      pfs: no -> yes\n" in out
    assert " -> ESP[AES256-GCM]:1000k/600s\n" in out


def test_other_main_mode_settings_are_told(desk: Desk) -> None:
    _, out, _ = desk.diff(changed("assign: yes", "assign: yes\n    mmlifetime: 60"))
    assert "authentication or main mode settings differ between\n  10.1.0.5 and any\n0 changes in traffic\n" in out
    assert desk.diff(changed("assign: yes", "assign: yes\n    mmlifetime: 60"), "--fail-on", "any")[0] == 9


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["new-clear"], ExitCode.DIFFERS),
        (["changed"], ExitCode.OK),
        (["changed", "lost"], ExitCode.DIFFERS),
        (["any"], ExitCode.DIFFERS),
    ],
)
def test_fail_on(kinds: list[str], code: ExitCode, desk: Desk) -> None:
    words = [word for kind in kinds for word in ("--fail-on", kind)]
    assert desk.diff(changed("dstport: 445", "dstport: 446"), *words) == (code, MOVED, "")


def test_a_kind_that_there_is_not(desk: Desk) -> None:
    with pytest.raises(SystemExit) as ended:
        desk.diff(GOOD, "--fail-on", "more")
    assert ended.value.code == ExitCode.USAGE


def test_json(desk: Desk) -> None:
    code, out, err = desk.diff(changed("dstport: 445", "dstport: 446"), "--json", "--fail-on", "gained")
    answer = json.loads(out)
    assert (code, err, answer["schema"], answer["equal"], answer["complete"]) == (9, "", 1, False, True)
    assert answer["kinds"] == {"new-clear": 3, "unprotected": 2, "lost": 1, "gained": 1, "new-protected": 2}
    assert "a shared secret" not in out


def asked(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests that a daemon gets, which answers all of them so."""
    heard: list[dict[str, Any]] = []

    def ask(command: str, arguments: dict[str, Any], path: str, timeout: float) -> dict[str, Any]:
        assert (command, path) == ("diff", "s")
        assert timeout > 60
        heard.append(arguments)
        return answer

    monkeypatch.setattr(differing, "ask", ask)
    return heard


EQUAL = {"equal": True, "complete": True, "kinds": {}, "unanswered": []}


@pytest.mark.parametrize(
    ("words", "running"), [(["old.yaml"], "old"), (["running", "old.yaml"], "old"), (["old.yaml", "running"], "new")]
)
def test_running_is_asked_of_the_daemon(
    words: list[str], running: str, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asked(EQUAL, monkeypatch)
    assert run(PROGRAM, ["--control", "s", "diff", *words]) == 0
    assert heard == [{"text": GOOD, "file": str(tmp_path / "old.yaml"), "running": running}]


@pytest.mark.parametrize("words", [["running"], ["running", "running"], ["running", "new.yaml", "--facts", "f.yaml"]])
def test_running_in_odd_places(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PROGRAM, ["diff", *words]) == ExitCode.USAGE
    assert "the running policy" in capsys.readouterr().err


def test_what_was_not_compared_cannot_be_ruled_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short = {"changes": [], "more_changes": 7, "peers": [], "more_peers": 0, "default_response": True}
    asked({**EQUAL, **cut_short, "equal": False, "complete": False}, monkeypatch)
    data, talk = io.StringIO(), io.StringIO()
    words = argparse.Namespace(
        old="old.yaml",
        new=None,
        facts=None,
        control="s",
        fail_on=["lost"],
        var=None,
        vars=None,
        store=None,
        persistent=None,
    )
    assert differing.run(words, Output(data, talk)) == ExitCode.DIFFERS
    assert "cannot be ruled out" in talk.getvalue()
    for part in ("and 7 more that are not listed", "too much to compare", "the default response rules differ"):
        assert part in data.getvalue()


NAMED = GOOD.replace("dstaddr: any", "dstaddr: files.example")


@pytest.mark.parametrize(
    ("new", "names"),
    [
        (NAMED, []),
        (NAMED.replace("protect smb", "another name"), []),
        (NAMED.replace("files.example", "other.example"), ["files.example", "other.example"]),
        (NAMED.replace("dstport: 445", "dstport: 139"), ["files.example"]),
        (NAMED.replace("action: negotiate", "soft: yes"), ["files.example"]),
        (NAMED.replace("assign: yes", "assign: no"), ["files.example"]),
    ],
)
def test_names_without_an_address_cannot_be_ruled_out(new: str, names: list[str], desk: Desk) -> None:
    desk.write("old.yaml", NAMED)
    code, out, err = desk.diff(new, "--fail-on", "new-clear")
    assert [name for name in ("files.example", "other.example") if name in out] == names
    assert ("say different things of these DNS names" in out) == bool(names)
    assert ("cannot be ruled out" in err) == bool(names)
    assert code == (ExitCode.DIFFERS if names else ExitCode.OK)
    desk.write("facts.yaml", f"{FACTS}names: {{files.example: [10.9.0.1], other.example: [10.9.0.1]}}\n")
    assert "DNS names" not in "".join(map(str, desk.diff(new)))
