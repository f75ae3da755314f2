# SPDX-License-Identifier: GPL-2.0-or-later
"""`xfrmctl import` and `export`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.netsh_cases import BASE, PSK
from xfrmd.cli.program import run
from xfrmd.cli.xfrmctl import PROGRAM

FACTS = "interfaces: [{name: eth0, kind: lan, addresses: [10.1.0.5/16]}]\n"
KERBEROS = BASE.replace(f'psk="{PSK}"', "kerberos=yes")
WEAK = (
    BASE.replace("add filteraction name=permit action=permit\n", "")
    .replace("AES256,SHA256", "3DES,SHA1")
    .replace("AES256-SHA256-3", "3DES-SHA1-3")
)


class Desk:
    """A directory with scripts, and the program to use on them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run(PROGRAM, words)
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_what_import_prints_is_a_policy_that_check_calls_good(desk: Desk) -> None:
    script, facts = desk.write("policy.cmd", BASE), desk.write("facts.yaml", FACTS)
    code, out, err = desk.run("import", "--format", "netsh", script)
    assert (code, err) == (0, "")
    policy = desk.write("policy.yaml", out)
    code, out, _ = desk.run("check", policy, "--facts", facts)
    assert code == 0
    assert "good: policy 'Servers', 1 rule" in out


def test_what_is_not_built_is_told_beside_the_policy_and_blocks(desk: Desk) -> None:
    script = desk.write("policy.cmd", KERBEROS)
    code, out, err = desk.run("import", "--format", "netsh", script)
    assert code == 0
    assert "filteraction: Block (not built yet)" in out
    assert f"{script}:7:1: warning: rule 'protect smb' of policy 'Servers' blocks: Kerberos is not built yet\n" in err
    assert "remedy: add a psk" in err


def test_a_bad_script_writes_nothing(desk: Desk) -> None:
    script = desk.write("policy.cmd", BASE + "add rule name=x policy=Nobody filterlist=smb filteraction=permit\n")
    target = desk.write("policy.yaml", "as before\n")
    code, out, err = desk.run("import", "--format", "netsh", script, "-o", target)
    assert (code, out) == (1, "")
    assert f"{script}:8:17: error: there is no policy 'Nobody' at this point" in err
    assert [path.name for path in desk.directory.iterdir() if path.suffix == ".new"] == []
    assert Path(target).read_text() == "as before\n"


def test_a_file_that_may_hold_secrets_is_for_its_owner(desk: Desk) -> None:
    script, target = desk.write("policy.cmd", BASE), str(desk.directory / "policy.yaml")
    code, out, _ = desk.run("import", "--format", "netsh", script, "-o", target)
    assert (code, out) == (0, "")
    assert Path(target).stat().st_mode & 0o777 == 0o600
    assert PSK in Path(target).read_text()


def _json(desk: Desk, *words: str) -> dict[str, Any]:
    code, out, err = desk.run("--json", *words)
    assert (code, err) == (0, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_programs_get_the_policy_and_what_is_told_in_json(desk: Desk) -> None:
    script, target = desk.write("policy.cmd", KERBEROS), str(desk.directory / "policy.yaml")
    answer = _json(desk, "import", "--format", "netsh", script)
    assert (answer["ok"], answer["warnings"], answer["problems"][0]["line"]) == (True, 1, 7)
    assert answer["policy"].startswith("# From a script of netsh")
    answer = _json(desk, "import", "--format", "netsh", script, "-o", target)
    assert answer["output"] == target
    assert "policy" not in answer


def test_export_writes_the_script_that_import_reads(desk: Desk) -> None:
    made = str(desk.directory / "policy.yaml")
    assert desk.run("import", "--format", "netsh", desk.write("policy.cmd", WEAK), "-o", made)[0] == 0
    code, script, err = desk.run("export", "--format", "netsh", made)
    assert (code, err) == (0, "")
    again = str(desk.directory / "again.yaml")
    assert desk.run("import", "--format", "netsh", desk.write("again.cmd", script), "-o", again)[0] == 0
    assert Path(made).read_text() == Path(again).read_text()


def test_export_refuses_what_netsh_cannot_say_and_writes_nothing(desk: Desk) -> None:
    made, target = str(desk.directory / "policy.yaml"), str(desk.directory / "policy.txt")
    desk.run("import", "--format", "netsh", desk.write("policy.cmd", BASE), "-o", made)
    code, out, err = desk.run("export", "--format", "netsh", made, "-o", target)
    assert (code, out) == (1, "")
    assert "policy.yaml:9:5: error: netsh has no quick mode method ESP[AES256,SHA256]" in err
    assert not Path(target).exists()


def test_the_format_must_be_named(desk: Desk) -> None:
    with pytest.raises(SystemExit):
        desk.run("import", desk.write("policy.cmd", BASE))
