# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands over several policy stores: files beside one another, and what the daemon is asked and answers."""

from __future__ import annotations

import io
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.policy_text import GOOD, changed
from xfrmd.cli import show_stores
from xfrmd.cli.output import Output
from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.control.exits import ExitCode

FACTS = "interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/16]}]\n"
BASE = """\
version: 1
filterlists: [{name: smb, filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 445}]}]
filteractions: [{name: stop, action: block}]
policies:
  - {name: Base, assign: yes, rules: [{name: no smb, filterlist: smb, filteraction: stop}]}
"""
PACKET = ["direction=out", "src=10.1.0.5", "dst=10.9.2.3", "dport=445", "protocol=tcp"]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("policy.yaml", GOOD), ("base.yaml", BASE), ("facts.yaml", FACTS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(PROGRAM, words)
    out, err = capsys.readouterr()
    return code, out, err


BOTH = ("--facts", "facts.yaml", "--persistent", "base.yaml")


def test_check_looks_at_two_stores_together(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "check", "policy.yaml", *BOTH)
    assert code == ExitCode.OK
    assert "policies 'Base' and 'Servers', 2 rules" in out
    assert "is of the persistent policy and wins (block)" in out
    code, out, _ = told(capsys, "--json", "check", "policy.yaml", *BOTH)
    answer = json.loads(out)
    assert (answer["assigned"], answer["persistent"]) == ("Servers", "Base")


def test_check_tells_the_mistakes_of_both_files(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "policy.yaml").write_text(changed("protocol: tcp", "protocol: tpc"))
    (desk / "base.yaml").write_text(BASE.replace("action: block", "action: blok"))
    code, out, _ = told(capsys, "check", "policy.yaml", *BOTH)
    assert code == ExitCode.ERROR
    assert "policy.yaml:5:" in out
    assert "base.yaml:3:" in out
    assert "2 errors" in out


def test_explain_and_compile_say_of_which_store_a_filter_is(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "explain", "policy.yaml", *BOTH, *PACKET)
    assert code == ExitCode.OK
    assert "store:         persistent, policy 'Base'" in out
    assert "as it is as specific, and is of the persistent store" in out
    assert "(store)" in out
    _, out, _ = told(capsys, "compile", "policy.yaml", *BOTH)
    assert "policy 'Base + Servers'" in out
    assert "[persistent 'no smb' at base.yaml:2:" in out
    code, _, err = told(capsys, "explain", "--persistent", "base.yaml", *PACKET)
    assert (code, "needs a policy file" in err) == (ExitCode.USAGE, True)


def test_diff_compares_two_policies_beside_the_same_persistent_one(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "new.yaml").write_text(changed("dstport: 445", "dstport: 445, description: again"))
    (desk / "none.yaml").write_text(changed("assign: yes", "assign: no"))
    code, out, _ = told(capsys, "diff", "policy.yaml", "none.yaml", *BOTH)
    assert (code, out) == (ExitCode.OK, "no difference: all traffic fares alike\n")
    code, out, _ = told(capsys, "diff", "policy.yaml", "none.yaml", *BOTH[:2])
    assert "new-clear" in out
    for words in (("running", "policy.yaml", "--persistent", "base.yaml"), ("a", "b", "--store", "local")):
        assert told(capsys, "diff", *words)[0] == ExitCode.USAGE


APPLIED: dict[str, Any] = {
    "policy": "Base + Servers",
    "file": "/etc/xfrmd/policy.yaml",
    "warnings": [],
    "filters": 4,
    "changes": {},
    "kernel": {"state": "equal", "reasons": []},
    "replaced": None,
    "stores": [
        {
            "store": store,
            "policy": policy,
            "in_force": store != "directory",
            "origin": origin,
            "file": f"/etc/xfrmd/{store}.yaml",
            "checksum": "0123456789abcdef" * 4,
            "since": 1.0,
            "trouble": None,
        }
        for store, policy, origin in (
            ("persistent", "Base", "assigned"),
            ("directory", None, None),
            ("local", "Servers", "last-good"),
        )
    ],
}
TROUBLE = {"condition": "bad", "message": "policy /etc/xfrmd/policy.yaml cannot be used: it is empty", "remedy": "mend"}


class Daemon(socketserver.UnixStreamServer):
    """Answers each command with one answer, and remembers what it was asked."""

    def __init__(self, path: str) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {}
        super().__init__(path, _Answering)


class _Answering(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Daemon)
        self.server.asked.append(json.loads(self.rfile.readline()))
        self.wfile.write(json.dumps({"schema": 1, "ok": True, "answer": self.server.answer}).encode() + b"\n")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(str(tmp_path / "control.sock")) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_assign_sends_the_policy_and_says_whether_that_was_a_change(
    desk: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    control = ("--control", "control.sock")
    daemon.answer = {"store": "persistent", "changed": True, **APPLIED}
    code, out, _ = told(capsys, *control, "assign", "base.yaml", "--allow-lockout")
    assert code == ExitCode.OK
    assert out.startswith("persistent store: changed\npolicy 'Base + Servers' is in force")
    assert "persistent 'Base' from /etc/xfrmd/persistent.yaml, assigned, 0123456789ab" in out
    (asked,) = daemon.asked
    assert asked["command"] == "assign"
    assert asked["arguments"] == {
        "text": BASE,
        "file": str(desk / "base.yaml"),
        "store": "persistent",
        "allow_lockout": True,
    }
    daemon.answer["changed"] = False
    code, out, _ = told(capsys, *control, "unassign")
    assert (code, out.splitlines()[0]) == (ExitCode.OK, "persistent store: nothing to change")
    assert daemon.asked[-1]["arguments"] == {"store": "persistent"}


@pytest.mark.parametrize("command", [("stores",), ("assign", "base.yaml"), ("unassign",), ("reload",)])
def test_trouble_with_a_store_is_shown_with_its_remedy_and_its_exit_code(
    desk: Path, daemon: Daemon, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    stores = [one | ({"trouble": TROUBLE} if one["store"] == "local" else {}) for one in APPLIED["stores"]]
    daemon.answer = {"store": "persistent", "changed": True, **APPLIED, "stores": stores}
    code, out, _ = told(capsys, "--control", "control.sock", *command)
    assert code == ExitCode.DEGRADED
    assert "bad: policy /etc/xfrmd/policy.yaml cannot be used: it is empty" in out
    assert "remedy: mend" in out


def test_what_waits_in_a_store_is_said() -> None:
    output = Output(io.StringIO(), io.StringIO())
    waiting = [APPLIED["stores"][2] | {"in_force": False}]
    (line,) = show_stores.store_lines(waiting, output)
    assert line == "local      'Servers' from /etc/xfrmd/local.yaml, its last good one, 0123456789ab, not in force"
