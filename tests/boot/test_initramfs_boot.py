# SPDX-License-Identifier: GPL-2.0-or-later
"""An initramfs that mkinitramfs made with our hook runs, brings the network up, and hands over: closed all the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.booted import Guest
from lab.debian import copied, initramfs
from tests.boot.conftest import Installed
from tests.boot.scene import Row, until
from xfrmd.adapters.boot_files import BLOCK, BOOT, BootFiles
from xfrmd.compiler.boot import block_file, boot_file
from xfrmd.model.facts import HostFacts
from xfrmd.policy.words import BootMode, Config, PolicySet

# Its own /init runs this in the place of what mounts the root over the network. For a second, as control, nothing is
# filtered.
MOUNT = """\
mount_top() { :; }
mount_premount() { :; }
mountroot() {
    nft list tables >/share/tables
    ipconfig -c none -d 10.9.0.2:::255.255.255.0:guest:eth0:none
    : >/share/up
    sleep 2
    : >/share/shut
    sleep 1
    nft delete table inet xfrmd_boot
    : >/share/control
    sleep 1
    /scripts/init-top/xfrmd
    : >/share/closed
    udevadm control --exit
    exit 0
}
"""
RUN = """\
mkdir -p /initrd/share
mount --bind /lab/share /initrd/share
chroot /initrd /init >/lab/share/initramfs.log 2>&1
umount -l /initrd/share
"""


def furnish(root: Path) -> None:
    """Asked for by an administrator, on a host whose policy was in force."""
    (root / "etc/default").mkdir(exist_ok=True)
    (root / "etc/default/xfrmd").write_text("XFRMD_INITRAMFS=y\n")
    state = root / "var/lib/xfrmd"
    state.mkdir(parents=True)
    files = BootFiles(state, None)
    files.remember_policy()
    files.save(BOOT, boot_file(PolicySet((), None), HostFacts(), BootMode.STATEFUL))
    files.save(BLOCK, block_file(Config()))


@pytest.mark.timeout(600)
def test_the_filter_stands_in_the_initramfs_before_its_network_and_until_the_policy_is_in_force(
    guest: Guest, installed: Installed, outcome: Callable[..., Row]
) -> None:
    with initramfs(installed.package, furnish) as made:
        script = made / "scripts/lab"
        script.write_text(MOUNT)
        copied(made, guest.root / "initrd")
    guest.boot("boot=lab", "lab.early", early=RUN)
    until(lambda: guest.run("test -e /run/xfrmd/boot-lifted", check=False).status == 0, "a policy in force")
    lifted = time.time()
    log = (guest.share / "initramfs.log").read_text(errors="replace")
    assert "table inet xfrmd_boot\n" in (guest.share / "tables").read_text(), log
    # Each is written before the filter goes, or after it has come: between them it may be either. It goes a second
    # after the mark, as times of files and of captures come from different clocks.
    marks = ("up", "shut", "control", "closed")
    up, shut, control, closed = ((guest.share / name).stat().st_mtime for name in marks)
    outcome("initramfs", "its network is up", guest, up, shut).assert_closed()
    why = "positive control: the filter is taken away for a second"
    row = outcome("initramfs, without the filter", "positive control", guest, control, closed, why)
    assert row.clear > 0
    outcome("initramfs", "and on, until the policy stands", guest, closed, lifted).assert_closed()
