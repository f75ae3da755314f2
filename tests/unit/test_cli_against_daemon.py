# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that ask a daemon, and strangers on its socket: only the answers count, not this host."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.policy_text import GOOD, read
from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain_whole
from xfrmd.control.exits import ExitCode
from xfrmd.policy.facts import load_facts
from xfrmd.policy.packets import parse_packet

FACTS = load_facts("interfaces: [{name: eth0, addresses: [10.1.0.5/16]}]", "f")
POLICIES = read(GOOD)
PLAN = compile_policy(POLICIES, FACTS)


def explained(text: str) -> dict[str, Any]:
    return explain_whole(POLICIES, FACTS, parse_packet(text.split()), PLAN).to_json()


class Answering(socketserver.StreamRequestHandler):
    """Answers as a daemon would that has GOOD in force."""

    def handle(self) -> None:
        request: dict[str, Any] = json.loads(self.rfile.readline())
        assert request["command"] == "explain"
        answer = explained(request["arguments"]["packet"])
        self.wfile.write(json.dumps({"schema": 1, "ok": True, "answer": answer}).encode() + b"\n")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "control.sock")
    with socketserver.UnixStreamServer(path, Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_explain_asks_the_daemon(control: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "direction=out", "src=10.1.0.5", "dst=10.9.9.9", "protocol=tcp", "dport=445"]
    assert run(PROGRAM, ["--control", control, *words]) == 0
    assert "rule:          protect smb" in capsys.readouterr().out
    assert run(PROGRAM, ["--control", control, *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["at"]) == ("negotiate", "p.yaml:5:9")


@pytest.mark.parametrize("word", ["nan", "-1", "inf", "301", "soon"])
def test_no_one_waits_for_an_odd_time(word: str, control: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "--control", control, "delete", "all", "--wait", word]
    assert run(PROGRAM, words) == ExitCode.USAGE
    assert "0 to 300 seconds" in json.loads(capsys.readouterr().out)["error"]["message"]


def stranger(answer: bytes) -> type[socketserver.StreamRequestHandler]:
    """Another program, by what it answers."""

    class Stranger(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(answer)

    return Stranger


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 400 Bad Request\r\n", b"[]\n", b"{}\n", b'{"ok": false, "error": 4}\n', b"220 ready\n> "]
)
def test_a_socket_of_another_program_is_told(line: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socketserver.UnixStreamServer(str(tmp_path / "s"), stranger(line)) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert run(PROGRAM, ["--json", "--control", str(tmp_path / "s"), "status"]) == ExitCode.ERROR
        thread.join()
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-xfrmd"
