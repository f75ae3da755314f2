# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of several files and values of variables on the command line: where they come from, what goes wrong."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.policy_text import GOOD
from xfrmd import limits
from xfrmd.adapters.policy_files import PolicyFiles, read_included
from xfrmd.cli import xfrmctl, xfrmd
from xfrmd.cli.program import run
from xfrmd.control.exits import ExitCode
from xfrmd.errors import PolicyError
from xfrmd.policy import PolicyErrors

CONFIG = Path(__file__).parents[2] / "config"
ACTIONS = GOOD[GOOD.index("filteractions:") : GOOD.index("policies:")]
POLICY = GOOD.replace(ACTIONS, "").replace("dstaddr: any", "dstaddr: '${net}'")
POLICY = POLICY.replace("version: 1", "version: 1\ninclude: [parts/actions.yaml]\nvariables: {net: 10.1.0.0/16}")
FACTS = "interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/16]}]\n"
PACKET = ["direction=out", "src=10.1.0.5", "dst=10.7.2.3", "dport=445", "protocol=tcp"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with a policy of two files."""
    (tmp_path / "parts").mkdir()
    texts = {"policy.yaml": POLICY, "parts/actions.yaml": f"version: 1\n{ACTIONS}", "facts.yaml": FACTS}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code, and everything printed."""
    code = run(xfrmctl.PROGRAM, words)
    out = capsys.readouterr()
    return code, out.out + out.err


def verdict(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out = told(capsys, "--json", "explain", "policy.yaml", "--facts", "facts.yaml", *words, *PACKET)
    assert code == 0, out
    return str(json.loads(out)["verdict"])


def test_a_word_replaces_a_file_which_replaces_the_policys_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "v1.yaml").write_text("net: [10.7.0.0/16, 10.8.0.0/16]\n")
    (place / "v2.yaml").write_text("net: 10.9.0.0/16\n")
    assert verdict(capsys) == "pass"
    assert verdict(capsys, "--vars", "v1.yaml") == "negotiate"
    assert verdict(capsys, "--vars", "v1.yaml", "--vars", "v2.yaml") == "pass"
    assert verdict(capsys, "--vars", "v2.yaml", "--vars", "v1.yaml") == "negotiate"
    assert verdict(capsys, "--vars", "v2.yaml", "--var", "net=10.7.0.0/16") == "negotiate"


@pytest.mark.parametrize("command", [["check"], ["compile"], ["diff", "policy.yaml"]])
def test_commands_on_files_take_them(command: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["policy.yaml", "--facts", str(place / "facts.yaml"), "--var"]
    assert told(capsys, *command, *rest, "net=10.7.0.0/16")[0] == 0
    code, out = told(capsys, *command, *rest, "net=10.7.0.0/33")
    assert code == 1
    assert "policy.yaml:7:32: error: '33' is no prefix length for 10.7.0.0 (from variable net)" in out


def test_diff_takes_a_value_that_one_of_both_uses(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "old.yaml").write_text(GOOD)
    words = ["policy.yaml", "--facts", "facts.yaml", "--var", "net=any"]
    code, out = told(capsys, "diff", "old.yaml", *words)
    assert (code, "no difference" in out) == (0, True)
    assert "old.yaml:1:1: warning: a value is given for 'net', which the policy does not use" in out


USAGE = [
    (["--var", "net"], "a variable is given as NAME=VALUE"),
    (["--var", "=x"], "'' is no name of a variable"),
    (["--var", "1=x"], "'1' is no name of a variable"),
    (["--var", "net=any", "--var", "net=me"], "two values are given for variable net"),
]


@pytest.mark.parametrize(("words", "message"), USAGE, ids=[row[1] for row in USAGE])
def test_odd_words(words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = told(capsys, "--json", "check", "policy.yaml", "--facts", str(place / "facts.yaml"), *words)
    assert code == ExitCode.USAGE
    assert message in out


@pytest.mark.parametrize("program", [xfrmctl, xfrmd], ids=["explain", "run"])
def test_values_need_a_policy(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", *PACKET] if program is xfrmctl else ["run"]
    assert run(program.PROGRAM, [*words, "--var", "a=b"]) == ExitCode.USAGE
    assert "--var and --vars need a policy" in capsys.readouterr().err


def test_a_secret_that_is_given_is_never_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = POLICY.replace("psk: a shared secret of some length", "psk: ${key}").replace("assign: yes", "assign: maybe")
    (place / "policy.yaml").write_text(text)
    (place / "v.yaml").write_text("key: a top secret of the house\n")
    for words in (["--vars", "v.yaml"], ["--var", "key=a top secret of the house"]):
        code, out = told(capsys, "check", "policy.yaml", "--facts", "facts.yaml", *words)
        assert (code, "top secret" in out) == (1, False)
    code, out = told(capsys, "--json", "check", "policy.yaml", "--facts", "facts.yaml", "--var", "a top secret")
    assert (code, "top secret" in out) == (2, False)


FILES = [
    ("", "v.yaml:1:1: error: the file is empty"),
    ("- a\n", "v.yaml:1:1: error: expected is a mapping of names to values"),
    ("a: {b: c}\n", "v.yaml:1:4: error: a mapping stands here"),
    ("a: b\na: c\n", "v.yaml:2:1: error: variable a stands twice, first at v.yaml:1:4"),
    ("a: [\n", "v.yaml:2:1: error: this is no YAML"),
    ("a: &x b\n", "v.yaml:1:4: error: "),
    ("net: any\nnat: me\n", "policy.yaml:1:1: error: a value is given for 'nat', which the policy does not use"),
    (f"net: {'x' * 5000}\n", "policy.yaml:1:1: error: the value given for variable net has 5000 characters"),
    (None, "error: v.yaml: No such file or directory"),
]


@pytest.mark.parametrize(("text", "message"), FILES, ids=[row[1][:40] for row in FILES])
def test_bad_files_of_values(text: str | None, message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if text is not None:
        (place / "v.yaml").write_text(text)
    code, out = told(capsys, "check", "policy.yaml", "--facts", "facts.yaml", "--vars", "v.yaml")
    assert code == 1
    assert message in out


def test_included_files_are_ordinary_and_bounded(place: Path) -> None:
    """A pipe would be waited for without end, a device read without end."""
    os.mkfifo(place / "pipe")
    for name in ("pipe", "parts", "/dev/zero"):
        with pytest.raises(PolicyError, match=r"not an ordinary file|Is a directory"):
            read_included(name)
    with pytest.raises(PolicyError, match="No such file"):
        read_included("gone.yaml")
    with pytest.raises(PolicyError, match="null"):
        read_included("a\0b")
    (place / "large").write_bytes(b"#" * (limits.POLICY_FILE_SIZE + 100))
    assert len(read_included("large")) == limits.POLICY_FILE_SIZE + 1


def test_a_request_carries_every_file_by_the_name_that_the_daemon_joins(place: Path) -> None:
    (place / "parts" / "actions.yaml").write_text(f"version: 1\ninclude: [../more.yaml]\n{ACTIONS}")
    (place / "more.yaml").write_text("version: 1\n")
    request = PolicyFiles("policy.yaml", {"net": "any"}).request()
    assert request["file"] == str(place / "policy.yaml")
    assert list(request["files"]) == [str(place / "parts/actions.yaml"), str(place / "more.yaml")]  # type: ignore[call-overload]
    assert request["variables"] == {"net": "any"}
    (place / "alone.yaml").write_text(GOOD)
    assert set(PolicyFiles("alone.yaml").request()) == {"text", "file"}
    (place / "more.yaml").unlink()
    with pytest.raises(PolicyErrors, match=r"parts/actions\.yaml:2:11: .*more\.yaml' cannot be included: No such"):
        PolicyFiles("policy.yaml").request()


class Recording(socketserver.StreamRequestHandler):
    """Refuses every request, and keeps its arguments."""

    def handle(self) -> None:
        requests.append(json.loads(self.rfile.readline())["arguments"])
        self.wfile.write(b'{"schema": 1, "ok": false, "error": {"code": "no", "message": "seen", "exit": 1}}\n')


requests: list[dict[str, Any]] = []


@pytest.fixture
def control(tmp_path: Path) -> Iterator[str]:
    requests.clear()
    with socketserver.UnixStreamServer(str(tmp_path / "s"), Recording) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield str(tmp_path / "s")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_what_goes_to_the_daemon(command: str, control: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "v.yaml").write_text("net: [10.7.0.0/16]\n")
    assert "seen" in told(capsys, "--control", control, command, "policy.yaml", "--vars", "v.yaml")[1]
    (sent,) = requests
    assert sent["files"] == {str(place / "parts/actions.yaml"): f"version: 1\n{ACTIONS}"}
    assert sent["variables"] == {"net": ["10.7.0.0/16"]}


FLEET = [
    ("web", "direction=in src=10.2.9.9 dst=10.1.0.5 dport=8001 protocol=tcp", "what this host serves"),
    ("web", "direction=in src=10.2.9.9 dst=10.1.0.5 dport=5432 protocol=tcp", "the company's networks"),
    ("database", "direction=in src=10.1.0.80 dst=10.1.0.5 dport=5432 protocol=tcp", "what this host serves"),
    ("database", "direction=in src=10.2.9.9 dst=10.1.0.5 dport=443 protocol=tcp", "the company's networks"),
    ("web", "direction=out src=fd00:1::5 dst=fd00:1::9 protocol=gre", "the company's networks"),
    ("database", "direction=in src=10.1.255.1 dst=10.1.0.5 dport=22 protocol=tcp", "administration"),
    ("database", "direction=in src=192.0.2.1 dst=10.1.0.5 dport=23 protocol=tcp", "no telnet"),
]


@pytest.mark.parametrize(("host", "packet", "rule"), FLEET, ids=[f"{row[0]} {row[2]}" for row in FLEET])
def test_the_fleets_policy_means_on_each_host_what_its_values_say(
    host: str, packet: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(CONFIG / "fleet/policy.yaml"), "--facts", str(CONFIG / "facts.yaml")]
    words += ["--vars", str(CONFIG / f"fleet/{host}.yaml")]
    assert json.loads(told(capsys, "--json", "explain", *words, *packet.split())[1])["rule"] == rule
    answer = json.loads(told(capsys, "--json", "check", *words)[1])
    assert answer["assigned"] == f"Fleet, {host}"
    assert {"file: No such" in one["message"] or "psk: No such" in one["message"] for one in answer["problems"]} <= {
        True
    }


def test_the_fleets_policy_without_values_says_which_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = told(capsys, "check", str(CONFIG / "fleet/policy.yaml"), "--facts", str(CONFIG / "facts.yaml"))
    assert code == 1
    for name in ("role", "services", "clients"):
        assert f"there is no variable {name}" in out
    assert "common.yaml:14:19: error: there is no variable clients" in out
    assert "policy.yaml: 3 errors, 0 warnings" in out
