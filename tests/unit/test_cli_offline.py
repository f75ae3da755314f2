# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on files: check, compile, explain, as a user types them, without daemon or root."""

from __future__ import annotations

import io
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit import pki
from tests.unit.pki import DAY
from tests.unit.policy_text import GOOD, changed
from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.control.exits import ExitCode

CONFIG = Path(__file__).parents[2] / "config"
FACTS = "interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/16]}]\n"
PACKET = ["direction=out", "src=10.1.0.5", "sport=40000", "dst=10.1.2.3", "dport=445", "protocol=tcp"]


class Desk:
    """A directory with a policy and facts, and the program to use on them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys
        self.policy = self.write("policy.yaml", GOOD)
        self.facts = self.write("facts.yaml", FACTS)

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run(PROGRAM, words)
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run("--json", *words)
        assert err == ""
        answer: dict[str, Any] = json.loads(out)
        assert answer["schema"] == 1
        return code, answer


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_check_of_a_good_policy(desk: Desk) -> None:
    code, out, err = desk.run("check", desk.policy, "--facts", desk.facts)
    assert (code, err) == (0, "")
    assert out == f"{desk.policy}: good: policy 'Servers', 1 rule, 2 specific filters on this host\n"
    code, answer = desk.json("check", desk.policy, "--facts", desk.facts)
    assert code == 0
    assert (answer["ok"], answer["errors"], answer["warnings"], answer["problems"]) == (True, 0, 0, [])
    assert (answer["assigned"], answer["specific_filters"]) == ("Servers", 2)


def test_check_tells_warnings_and_still_ends_with_0(desk: Desk) -> None:
    policy = desk.write("w.yaml", changed("assign: yes", "assign: no"))
    code, out, _ = desk.run("check", policy, "--facts", desk.facts)
    assert code == 0
    assert f"{policy}:10:5: warning: no policy is assigned" in out
    assert f"{policy}: good: no policy is assigned, 1 warning" in out


def test_check_tells_what_ends_soon(desk: Desk) -> None:
    now = datetime.now(UTC)
    ca = pki.root(start=now - DAY, end=now + 365 * DAY)
    words: dict[int, str] = {}
    for days in (29, 31):
        host = pki.issue(f"in {days} days", by=ca, start=now - DAY, end=now + days * DAY)
        for name, content in (("ca", ca.pem), ("certificate", host.pem), ("key", host.key_pem), ("crl", pki.crl(ca))):
            path = Path(desk.write(f"{name}{days}", content.decode()))
            path.chmod(0o600)
            words[days] = f"{words.get(days, '')}{name}: {{file: {path}}}, "
    for days, told in ((29, 1), (31, 0)):
        text = changed("psk: a shared secret of some length", f"rootca: {{{words[days]}}}")
        code, answer = desk.json("check", desk.write("c.yaml", text), "--facts", desk.facts)
        assert (code, answer["warnings"]) == (0, told)
        assert all("certificate 'O=Example, CN=in 29 days' expires at" in one["message"] for one in answer["problems"])


def test_check_tells_what_only_the_compiler_sees(desk: Desk) -> None:
    """Two filters that want different things of the same packets."""
    text = GOOD.replace("action: negotiate", "action: block") + "      - {name: r2, filterlist: smb, filteraction: p}\n"
    text = text.replace("policies:", "  - {name: p, action: permit}\npolicies:")
    policy = desk.write("tie.yaml", text)
    code, answer = desk.json("check", policy, "--facts", desk.facts)
    assert code == 0
    assert any("wins" in one["message"] for one in answer["problems"])


@pytest.mark.parametrize(("mode", "text"), [(0o644, "chmod 600"), (None, "No such file")])
def test_check_looks_at_secrets(desk: Desk, mode: int | None, text: str) -> None:
    path = desk.directory / "psk"
    if mode is not None:
        path.write_text("a shared secret of some length\n")
        path.chmod(mode)
    policy = desk.write("s.yaml", changed("psk: a shared secret of some length", f"psk: {{file: {path}}}"))
    code, out, _ = desk.run("check", policy, "--facts", desk.facts)
    assert code == 0
    assert "s.yaml:16:14: warning:" in out
    assert text in out
    path.write_text("a shared secret of some length\n")
    path.chmod(0o600)
    assert ": warning:" not in desk.run("check", policy, "--facts", desk.facts)[1]
    path.write_text("short\n")
    assert "5 octets can be guessed" in desk.run("check", policy, "--facts", desk.facts)[1]


def test_check_of_systemd_credentials_is_left_to_the_daemon(desk: Desk) -> None:
    policy = desk.write("c.yaml", changed("psk: a shared secret of some length", "psk: {credential: psk}"))
    assert ": warning:" not in desk.run("check", policy, "--facts", desk.facts)[1]


@pytest.mark.parametrize("command", ["check", "compile", "diff"])
def test_files_that_are_not_there(desk: Desk, command: str) -> None:
    rest = [desk.policy] if command == "diff" else []
    code, out, err = desk.run(command, "/gone.yaml", *rest, "--facts", desk.facts)
    assert (code, out, err) == (1, "", "error: /gone.yaml: No such file or directory\n")
    code, out, err = desk.run(command, desk.policy, *rest, "--facts", "/gone.yaml")
    assert (code, out, err) == (1, "", "error: /gone.yaml: No such file or directory\n")


def test_bad_facts_are_reported_like_a_bad_policy(desk: Desk) -> None:
    facts = desk.write("bad.yaml", "interfaces: [{name: eth0, addresses: [10.1.0.5/33]}]\n")
    code, answer = desk.json("check", desk.policy, "--facts", facts)
    assert code == 1
    assert [(one["file"], one["line"], one["column"]) for one in answer["problems"]] == [(facts, 1, 39)]
    code, _, err = desk.run("compile", desk.policy, "--facts", facts)
    assert code == 1
    assert f"{facts}:1:39: error: '33' is no prefix length" in err


def test_a_policy_from_standard_input(desk: Desk, tmp_path: Path) -> None:
    stdin = os.dup(0)
    try:
        with (tmp_path / "policy.yaml").open() as stream:
            os.dup2(stream.fileno(), 0)
            code, out, _ = desk.run("check", "-", "--facts", desk.facts)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
    assert (code, out.split(":")[0]) == (0, "-")


def test_compile_shows_the_plan_and_no_secret(desk: Desk) -> None:
    code, out, err = desk.run("compile", desk.policy, "--facts", desk.facts)
    assert (code, err) == (0, "")
    for part in (
        "policy 'Servers'",
        "specific filters",
        "security policies",
        "peers",
        "table inet xfrmd",
        "AES128-GCM",
    ):
        assert part in out
    assert "a shared secret" not in out
    code, answer = desk.json("compile", desk.policy, "--facts", desk.facts)
    assert code == 0
    assert {"filters", "spd", "pad", "protect", "nft", "policy"} <= set(answer)
    assert "a shared secret" not in json.dumps(answer)
    assert answer["filters"][0]["at"] == f"{desk.policy}:5:9"


@pytest.mark.parametrize("section", ["filters", "spd", "protect", "pad", "nft"])
def test_compile_shows_one_section(desk: Desk, section: str) -> None:
    code, out, _ = desk.run("compile", desk.policy, "--facts", desk.facts, "--section", section)
    assert code == 0
    assert ("table inet xfrmd" in out) == (section == "nft")
    _, answer = desk.json("compile", desk.policy, "--facts", desk.facts, "--section", section)
    assert set(answer) == {"schema", "policy", section}
    assert answer[section]


def test_compile_refuses_a_bad_policy_on_stderr(desk: Desk) -> None:
    policy = desk.write("bad.yaml", changed("dstport: 445", "dstport: 70000"))
    code, out, err = desk.run("compile", policy, "--facts", desk.facts)
    assert (code, out) == (1, "")
    assert f"{policy}:5:61: error: port 70000 does not exist" in err
    code, answer = desk.json("compile", policy, "--facts", desk.facts)
    assert code == 1
    assert answer["problems"][0]["line"] == 5


@pytest.mark.parametrize("named", ["--policy", "first"])
def test_explain_answers_all_that_is_asked(desk: Desk, named: str) -> None:
    policy = ["--policy", desk.policy] if named == "--policy" else [desk.policy]
    code, answer = desk.json("explain", *policy, "--facts", desk.facts, *PACKET)
    assert code == 0
    expected = {
        "verdict": "negotiate",
        "rule": "protect smb",
        "filter_list": "smb",
        "filter_action": "require",
        "at": f"{desk.policy}:5:9",
    }
    assert expected.items() <= answer.items()
    assert answer["weight"]


VERDICTS = [
    ("direction=out src=10.1.0.5 dst=10.1.2.3 dport=446 protocol=tcp", "pass", None),
    ("direction=in src=10.1.2.3 dst=10.1.0.5 dport=500 sport=500 protocol=udp", "permit", "exempt-ike"),
    ("direction=in src=10.1.2.3 dst=10.1.0.5 sport=445 dport=1 protocol=tcp", "negotiate", "protect smb"),
]


@pytest.mark.parametrize(("packet", "verdict", "rule"), VERDICTS, ids=[row[1] for row in VERDICTS])
def test_explain_verdicts(desk: Desk, packet: str, verdict: str, rule: str | None) -> None:
    _, answer = desk.json("explain", desk.policy, *packet.split(), "--facts", desk.facts)
    assert (answer["verdict"], answer["rule"]) == (verdict, rule)


def test_explain_for_people(desk: Desk) -> None:
    code, out, err = desk.run("explain", desk.policy, "--facts", desk.facts, *PACKET)
    assert (code, err) == (0, "")
    assert out.startswith("negotiate: ")
    for part in ("out 10.1.0.5:40000 -> 10.1.2.3:445 tcp", "rule:          protect smb", f"{desk.policy}:5:9"):
        assert part in out


def test_explain_names_those_that_lost_and_the_kernels_part(desk: Desk) -> None:
    wide = "      - {name: all else, filterlist: all, filteraction: p}\n"
    lists = "filterlists:\n  - {name: all, filters: [{srcaddr: me, dstaddr: any}]}"
    text = GOOD.replace("filterlists:", lists).replace("policies:", "  - {name: p, action: permit}\npolicies:") + wide
    policy = desk.write("two.yaml", text)
    _, out, _ = desk.run("explain", policy, "--facts", desk.facts, *PACKET)
    assert "wins:          over 'all else', as it names a protocol\n" in out
    assert f"    permit    32.32.32.0.0.0.0  'all else'  me <-> any any  {policy}:" in out
    assert "nftables" not in out
    _, out, _ = desk.run("explain", policy, "--facts", desk.facts, "--verbose", *PACKET)
    assert "nftables:      chain classify_out, map out4_32_0_p_0_ffff" in out
    assert "SPD entry:     out protect 10.1.0.5 -> any:445 tcp" in out
    _, answer = desk.json("explain", policy, "--facts", desk.facts, *PACKET)
    assert [(one["rule"], one["lost"]) for one in answer["runners_up"]] == [("all else", "lighter")]


def test_a_packet_may_be_quoted_as_one_word(desk: Desk) -> None:
    asked = ("explain", desk.policy, "--facts", desk.facts)
    assert desk.json(*asked, " ".join(PACKET)) == desk.json(*asked, *PACKET)


def test_explain_tells_what_is_wrong_with_a_packet(desk: Desk) -> None:
    code, out, err = desk.run("explain", desk.policy, "--facts", desk.facts, "direction=up", "dst=10.1.2")
    assert (code, out) == (1, "")
    assert "packet:1:1: error: 'up' is no direction" in err
    assert "packet:1:14: error: '10.1.2' is no address" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a.yaml", "--policy", "b.yaml"], "two policies are named"), (["--facts", "f.yaml"], "--facts needs a policy")],
)
def test_explain_on_contradictions(desk: Desk, words: list[str], message: str) -> None:
    code, _, err = desk.run("explain", *words, *PACKET)
    assert code == ExitCode.USAGE
    assert message in err


@pytest.mark.parametrize("words", [["explain", *PACKET], ["diff"]])
def test_without_a_file_the_daemon_is_asked_and_its_absence_told(desk: Desk, words: list[str]) -> None:
    words = [*words, *([desk.policy] if words == ["diff"] else [])]
    code, out, err = desk.run("--control", str(desk.directory / "gone.sock"), *words)
    assert (code, out) == (ExitCode.NOT_RUNNING, "")
    assert "xfrmd is not running" in err


def test_output_survives_an_ascii_terminal(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    policy = desk.write("ä.yaml", changed("name: protect smb", "name: Schütze ☃"))
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run(PROGRAM, ["explain", policy, "--facts", desk.facts, *PACKET]) == 0
    stream.seek(0)
    assert "Sch\\xfctze \\u2603" in stream.read()


def test_the_examples_answer_as_their_comments_say(desk: Desk) -> None:
    facts = ["--facts", str(CONFIG / "facts.yaml")]
    cases = [
        ("server", "direction=in src=10.1.9.9 dst=10.1.0.5 dport=445 protocol=tcp", "negotiate", "protect SMB"),
        ("server", "direction=in src=10.1.0.80 dst=10.1.0.5 dport=445 protocol=tcp", "permit", "serve the printer"),
        ("server", "direction=in src=10.1.9.9 dst=10.1.0.5 dport=138 protocol=udp", "block", "no NetBIOS"),
        ("server", "direction=in src=10.1.9.9 dst=10.1.0.5 dport=22 protocol=tcp", "pass", None),
        ("require-subnet", "direction=out src=10.1.0.5 dst=10.1.9.9 protocol=icmp", "permit", "ping"),
        ("require-subnet", "direction=out src=fd00:1::5 dst=fd00:1::9 protocol=gre", "negotiate", "all traffic"),
        ("request", "direction=out src=10.1.0.5 dst=10.1.9.9 protocol=gre", "negotiate", "office traffic"),
        ("request", "direction=out src=192.0.2.7 dst=10.1.9.9 protocol=gre", "pass", None),
        ("block-telnet", "direction=out src=192.0.2.7 dst=10.1.9.9 dport=23 protocol=tcp", "block", "block telnet"),
    ]
    for name, packet, verdict, rule in cases:
        _, answer = desk.json("explain", str(CONFIG / f"{name}.yaml"), *facts, *packet.split())
        assert (answer["verdict"], answer["rule"]) == (verdict, rule), (name, packet)
