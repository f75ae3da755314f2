# SPDX-License-Identifier: GPL-2.0-or-later
"""units/boot-filter: what it loads when files are there, missing, broken or refused, and what it says.

`nft` is a program of the test here, which writes down what it was given and may refuse it.
"""

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

UNITS = Path(__file__).parents[2] / "units"
SSH = Config(bootexemptions=(BootExemption(6, inbound=True, dport=22),))
STATEFUL = boot_file(PolicySet((), None, config=SSH), HostFacts(), BootMode.STATEFUL)
BLOCKED = block_file(SSH)
NFT = """#!/bin/sh
file=$2
if [ "$file" = - ]; then
    read -r word file
    if [ "$word" != include ]; then echo "Error: syntax error" >&2; exit 1; fi
    file=${file#?} file=${file%?}
fi
echo "$file" >>"$TRACE"
case " $REFUSED " in *" ${file##*/} "*) echo "Error: refused" >&2; exit 1 ;; esac
"""


@dataclass
class Loader:
    """The script with directories and a console of its own."""

    root: Path
    refused: str = ""
    cmdline: str = "BOOT_IMAGE=/vmlinuz root=/dev/vda1 quiet"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def files(self) -> BootFiles:
        return BootFiles(self.state, self.root / "run" / "xfrmd")

    @property
    def console(self) -> str:
        return (self.root / "console").read_text()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.root / "cmdline").write_text(self.cmdline + "\n")
        for name in ("loaded", "console"):
            (self.root / name).write_text("")
        environ = {
            "XFRMD_BOOT_PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "XFRMD_BOOT_STATE": str(self.state),
            "XFRMD_BOOT_FIXED": str(UNITS / "block.nft"),
            "XFRMD_BOOT_RUN": str(self.root / "run"),
            "XFRMD_BOOT_CONSOLE": str(self.root / "console"),
            "XFRMD_BOOT_CMDLINE": str(self.root / "cmdline"),
            "XFRMD_BOOT_PROGRAM": str(self.root / "program"),
            "XFRMD_BOOT_SECRETS": str(self.root / "secrets"),
            "TRACE": str(self.root / "loaded"),
            "REFUSED": self.refused,
        }
        command = ["sh", str(UNITS / "boot-filter"), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)

    def loads(self, *words: str, status: int = 0) -> list[str]:
        """Names of the files that nft was told to load, in order."""
        done = self.run(*words)
        assert done.returncode == status, done
        names = {str(self.state / name): name for name in (BOOT, BLOCK)} | {str(UNITS / "block.nft"): "fixed"}
        return [names[line] for line in (self.root / "loaded").read_text().splitlines()]


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    """A host whose daemon has saved its files."""
    for name in ("bin", "state", "run/xfrmd", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "program").touch()
    (tmp_path / "bin" / "nft").write_text(NFT)
    (tmp_path / "bin" / "nft").chmod(0o755)
    made = Loader(tmp_path)
    made.files.remember_policy()
    made.files.save(BOOT, STATEFUL)
    made.files.save(BLOCK, BLOCKED)
    return made


def test_what_the_daemon_saved_is_loaded_without_a_word(loader: Loader) -> None:
    done = loader.run("boot")
    assert (done.returncode, done.stdout, done.stderr, loader.console) == (0, "", "", "")
    assert loader.loads("boot") == [BOOT]


def test_a_host_that_never_had_a_policy_is_let_alone(loader: Loader) -> None:
    for name in (BOOT, BLOCK, "had-policy"):
        (loader.state / name).unlink()
    assert loader.loads("boot") == loader.loads("block") == []
    loader.state.rmdir()
    assert loader.loads("boot") == loader.loads("block") == []


@pytest.mark.parametrize("kept", [0, 1, 40, 100, len(STATEFUL) // 2, len(STATEFUL) - 1])
def test_a_half_written_file_blocks(loader: Loader, kept: int) -> None:
    (loader.state / BOOT).write_text(STATEFUL[:kept])
    assert loader.loads("boot") == [BLOCK]
    assert "boot.nft is damaged" in loader.console


def test_a_changed_octet_or_another_version_blocks(loader: Loader) -> None:
    (loader.state / BOOT).write_text(STATEFUL.replace("dport 22", "dport 23"))
    assert loader.loads("boot") == [BLOCK]
    (loader.state / BOOT).write_text(STATEFUL.replace("# xfrmd-boot 1", "# xfrmd-boot 2"))
    assert loader.loads("boot") == [BLOCK]
    assert "of another version" in loader.console


def test_a_missing_file_blocks_and_says_so_on_console_and_in_the_journal(loader: Loader) -> None:
    (loader.state / BOOT).unlink()
    done = loader.run("boot")
    assert done.stderr.startswith("<2>xfrmd boot filter: ")
    for said in (done.stderr, loader.console):
        assert f"{loader.state}/boot.nft is missing: this host is blocked apart from exemptions" in said
        assert "systemctl status xfrmd" in said
        assert "xfrmd.boot=off" in said


def test_what_nftables_refuses_gives_way_to_something_simpler(loader: Loader) -> None:
    loader.refused = BOOT
    assert loader.loads("boot") == [BOOT, BLOCK]
    assert "boot.nft was refused by nftables" in loader.console
    assert "bootexemptions" not in loader.console
    (loader.state / BLOCK).unlink()
    assert loader.loads("boot") == [BOOT, "fixed"]
    last = loader.console.splitlines()[-1]
    assert "boot.nft was refused by nftables" in last
    assert f"without those of bootexemptions, as {loader.state}/block.nft is missing;" in last


def test_a_damaged_file_is_told_once_and_by_nothing_but_our_words(loader: Loader) -> None:
    (loader.state / BOOT).write_text(STATEFUL[:100])
    (loader.state / BLOCK).unlink()
    (said,) = loader.run("boot").stderr.splitlines()
    assert "boot.nft is damaged, or of another version: this host is blocked" in said
    assert "block.nft is missing" in said


def test_when_nothing_can_be_loaded_the_unit_fails_and_shouts(loader: Loader) -> None:
    loader.refused = f"{BOOT} {BLOCK}"
    assert loader.loads("boot", status=1) == [BOOT, BLOCK, "fixed"]
    assert "NOTHING IS FILTERED" in loader.console


def test_what_systemd_misses_is_named(loader: Loader) -> None:
    def said() -> str:
        return loader.run("block").stderr.splitlines()[-1]

    assert "xfrmd failed: this host is blocked" in said()
    (loader.root / "secrets").rmdir()
    assert f"xfrmd failed, as the directory {loader.root / 'secrets'} is missing: this host is blocked" in said()
    (loader.root / "program").unlink()
    assert f"xfrmd failed, as {loader.root / 'program'} is missing: this host is blocked" in said()


def test_a_directory_that_cannot_be_read_is_no_host_without_a_policy(loader: Loader) -> None:
    for name in (BOOT, BLOCK, "had-policy"):
        (loader.state / name).unlink()
    loader.state.rmdir()
    loader.state.write_text("no directory")
    (loader.root / "bin" / "ls").write_text("#!/bin/sh\nexit 2\n")
    (loader.root / "bin" / "ls").chmod(0o755)
    assert loader.loads("boot") == ["fixed"]


def test_the_rescue_switch_loads_nothing_and_says_so(loader: Loader) -> None:
    loader.cmdline = "root=/dev/vda1 xfrmd.boot=off quiet"
    for what in ("boot", "block"):
        assert loader.loads(what) == []
        assert "xfrmd.boot=off on the kernel command line" in loader.console
    for near in ("xfrmd.boot=offline", "notxfrmd.boot=off", "xfrmd.boot=on", ""):
        loader.cmdline = near
        assert loader.loads("boot") == [BOOT]


def test_a_failed_daemon_blocks_with_the_exemptions(loader: Loader) -> None:
    loader.files.lifted()
    assert loader.loads("block") == [BLOCK]
    assert "xfrmd failed: this host is blocked" in loader.console


def test_once_a_policy_is_in_force_a_reload_of_nftables_loads_nothing(loader: Loader) -> None:
    assert loader.loads("boot") == [BOOT]
    loader.files.lifted()
    assert loader.loads("boot") == []


def test_a_reload_of_nftables_after_a_failure_blocks_again_until_a_policy_is_in_force(loader: Loader) -> None:
    loader.files.lifted()
    loader.loads("block")
    assert loader.loads("boot") == [BLOCK]
    loader.files.lifted()
    assert loader.loads("boot") == []


def test_permit_is_a_file_too(loader: Loader) -> None:
    loader.files.save(BOOT, boot_file(PolicySet((), None), HostFacts(), BootMode.PERMIT))
    assert loader.loads("boot") == [BOOT]


def test_wrong_use_is_told(loader: Loader) -> None:
    assert loader.run().returncode == loader.run("stop").returncode == 2
    assert "usage:" in loader.run("stop").stderr


def test_the_ruleset_that_comes_with_the_script_is_the_compilers() -> None:
    assert (UNITS / "block.nft").read_text() == block_file(Config())
