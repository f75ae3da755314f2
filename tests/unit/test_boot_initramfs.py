# SPDX-License-Identifier: GPL-2.0-or-later
"""The hook for initramfs-tools: what it puts into an initramfs, when, and that the loader works with only that."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from xfrmd.adapters.boot_files import BLOCK, BOOT, BootFiles
from xfrmd.compiler.boot import block_file, boot_file
from xfrmd.model.facts import HostFacts
from xfrmd.policy.words import BootExemption, BootMode, Config, PolicySet

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "packaging" / "initramfs" / "hooks" / "xfrmd"
SCRIPT = ROOT / "packaging" / "initramfs" / "scripts" / "init-top" / "xfrmd"
CONFIG = Config(bootexemptions=(BootExemption(6, inbound=True, dport=22),))
FUNCTIONS = """
copy_exec() { mkdir -p "$DESTDIR/bin"; echo "$1" >>"$DESTDIR/programs"; }
manual_add_modules() { echo "$@" >>"$DESTDIR/modules"; }
"""


@dataclass
class Making:
    """An initramfs that is made."""

    root: Path

    @property
    def files(self) -> BootFiles:
        return BootFiles(self.root / "state", None)

    def run(self, wanted: str = "XFRMD_INITRAMFS=y", *words: str) -> subprocess.CompletedProcess[str]:
        (self.root / "defaults").write_text(f"{wanted}\n")
        environ = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "DESTDIR": str(self.root / "made"),
            "XFRMD_HOOK_FUNCTIONS": str(self.root / "functions"),
            "XFRMD_HOOK_DEFAULTS": str(self.root / "defaults"),
            "XFRMD_HOOK_STATE": str(self.root / "state"),
            "XFRMD_HOOK_LIBRARY": str(ROOT / "units"),
        }
        command = ["sh", str(HOOK), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)

    def made(self, wanted: str = "XFRMD_INITRAMFS=y") -> set[str]:
        """Names of the files in it."""
        done = self.run(wanted)
        assert done.returncode == 0, done
        there = self.root / "made"
        return {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}


@pytest.fixture
def making(tmp_path: Path) -> Making:
    """On a host whose daemon has saved a boot filter."""
    for name in ("bin", "state", "made"):
        (tmp_path / name).mkdir()
    (tmp_path / "functions").write_text(FUNCTIONS)
    (tmp_path / "bin" / "nft").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "nft").chmod(0o755)
    made = Making(tmp_path)
    made.files.remember_policy()
    made.files.save(BOOT, boot_file(PolicySet((), None, config=CONFIG), HostFacts(), BootMode.STATEFUL))
    made.files.save(BLOCK, block_file(CONFIG))
    return made


def test_nothing_is_added_unless_asked_for(making: Making) -> None:
    assert making.made("") == making.made("XFRMD_INITRAMFS=n") == set()


def test_the_loader_finds_all_that_it_needs_and_blocks_with_the_exemptions(making: Making) -> None:
    saved = {f"var/lib/xfrmd/{name}" for name in (BOOT, BLOCK, "had-policy")}
    assert making.made() == saved | {"usr/lib/xfrmd/boot-filter", "usr/lib/xfrmd/block.nft", "programs", "modules"}
    there = making.root / "made"
    assert (there / "var/lib/xfrmd" / BOOT).read_text() == block_file(CONFIG), (
        "filters of an old policy are no part of it"
    )
    programs = [Path(line).name for line in (there / "programs").read_text().splitlines()]
    assert programs == ["nft", "sha256sum"]
    assert "nf_tables" in (there / "modules").read_text().split()


def test_permit_and_a_host_without_a_policy_add_nothing(making: Making) -> None:
    making.files.save(BOOT, boot_file(PolicySet((), None), HostFacts(), BootMode.PERMIT))
    assert making.made() == set()
    for path in (making.root / "state").iterdir():
        path.unlink()
    assert making.made() == set()


def test_without_saved_files_on_a_host_that_had_a_policy_the_fixed_ruleset_remains(making: Making) -> None:
    for name in (BOOT, BLOCK):
        (making.root / "state" / name).unlink()
    assert {"usr/lib/xfrmd/block.nft", "var/lib/xfrmd/had-policy"} <= making.made()
    assert f"var/lib/xfrmd/{BOOT}" not in making.made()


def test_an_initramfs_without_its_programs_is_not_made(making: Making) -> None:
    (making.root / "bin" / "nft").write_text("")
    (making.root / "bin" / "nft").chmod(0o644)
    (making.root / "functions").write_text(
        f"PATH={making.root / 'bin'}:/nonexistent\ncp() {{ :; }}\nmkdir() {{ :; }}\n"
    )
    (making.root / "made" / "var/lib/xfrmd").mkdir(parents=True)
    done = making.run()
    assert done.returncode == 1
    assert "without a boot filter: nft is missing" in done.stderr


def test_both_say_that_they_need_nothing_before_them() -> None:
    for script in (HOOK, SCRIPT):
        command = ["sh", str(script), "prereqs"]
        assert subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout == "\n"
