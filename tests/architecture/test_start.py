# SPDX-License-Identifier: GPL-2.0-or-later
"""What a start must not import. What it costs is measured elsewhere (docs/performance.md); this holds what was won."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {"asyncio", "cryptography", "dataclasses", "dns", "inspect", "logging", "subprocess", "xfrmd.policy", "yaml"}
"""Takes several times what a question to the daemon does."""


def imported(program: str, *words: str) -> set[str]:
    """The modules that a program has imported when it ends."""
    code = (
        f"import sys; from xfrmd.cli.{program} import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["status", "sas", "rekey all", "reload", "stores", "counters"])
def test_a_question_to_the_daemon_imports_next_to_nothing(command: str) -> None:
    found = imported("xfrmctl", *command.split(), "--control", "/nobody/there")
    assert "xfrmd.control.client" in found
    assert not found & SMALL


def test_a_command_does_not_import_what_others_need() -> None:
    found = imported("xfrmctl", "check", "config/server.yaml", "--facts", "config/facts.yaml")
    assert "xfrmd.cli.checking" in found
    assert not found & {"asyncio", "dns", "xfrmd.cli.converting", "xfrmd.compiler.explain", "xfrmd.netsh"}


def test_help_imports_all_and_no_daemon() -> None:
    found = imported("xfrmctl", "--help")
    assert "xfrmd.cli.converting" in found
    assert not found & {"asyncio", "dns", "xfrmd.daemon"}


def test_the_daemon_starts_without_what_it_needs_when_asked() -> None:
    code = "import sys, xfrmd.cli.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    found = set(done.stdout.split())
    assert {"xfrmd.daemon.commands", "xfrmd.ike.v2.proof", "xfrmd.adapters.nft"} <= found, "and with all that it needs"
    late = {"xfrmd.compiler.explain", "xfrmd.compiler.traffic", "xfrmd.daemon.studies"}
    assert not found & (
        late | {"dns", "jsonschema", "multiprocessing", "pyroute2", "xfrmd.cli.checking", "xfrmd.netsh"}
    )
