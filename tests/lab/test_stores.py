# SPDX-License-Identifier: GPL-2.0-or-later
"""The persistent policy with real packets: first at a start, beside whatever becomes of the other, on bad disks too."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab import topology
from lab.xfrmd_host import CtlFailed, XfrmdHost
from tests.lab import e2e, leaks
from xfrmd.adapters.boot_files import BOOT
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.errors import XfrmdError
from xfrmd.limits import BOOT_TABLE

SHUT, OTHER, OPEN = 7001, 7002, 7003
"""Ports that the persistent policy blocks, that the local policy blocks, and that nobody speaks of."""
MOMENT = 0.3
"""Long enough for a hundred packets to each port."""


def policy(name: str, **ports: str) -> str:
    """A policy with an action for each port, as in p7001="block"."""
    lists = "".join(
        f"  - {{name: {port}, filters: [{{srcaddr: me, dstaddr: any, protocol: udp, dstport: {port[1:]}}}]}}\n"
        for port in ports
    )
    rules = "".join(
        f"      - {{name: {action} {port}, filterlist: {port}, filteraction: {action}}}\n"
        for port, action in ports.items()
    )
    return f"""\
version: 1
filterlists:
{lists}filteractions: [{{name: block, action: block}}, {{name: permit, action: permit}}]
policies:
  - name: {name}
    assign: yes
    rules:
{rules}"""


BASE = policy("Base", p7001="block")
LOCAL = policy("Local", p7002="block")
CONTRARY = policy("Contrary", p7001="permit", p7002="block")
BAD = LOCAL.replace("action: block", "action: blok")


class Scene:
    """A daemon of the left host, not started, and packets from there to the right host, all the time."""

    def __init__(self, net: topology.TwoHosts, directory: Path) -> None:
        self.net = net
        self.daemon = XfrmdHost(net.left, directory)
        self.daemon.write_policy(LOCAL)
        self._ended = threading.Event()
        self._sender = threading.Thread(target=self._send)

    @property
    def stores(self) -> Path:
        return self.daemon.directory / "stores"

    def assign(self, text: str) -> bool:
        """Assign a persistent policy; whether that was a change."""
        return bool(self.daemon.ask("assign", {"text": text, "file": "/base.yaml"})["changed"])

    def _send(self) -> None:
        with leaks.udp_socket(self.net.left) as v4, leaks.udp_socket(self.net.left, self.net.left.v6) as v6:
            while not self._ended.wait(0.003):
                for port in (SHUT, OTHER, OPEN):
                    for each, address in ((v4, self.net.right.v4), (v6, self.net.right.v6)):
                        with contextlib.suppress(OSError):  # what is blocked may be refused to its sender
                            each.sendto(b"in clear", (address, port))

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        self._sender.start()
        try:
            yield
        finally:
            self._ended.set()
            self._sender.join()

    def seen(self, port: int) -> int:
        """Packets to a port that left since the last `fresh`."""
        flow = topology.between(self.net.left, self.net.right, "udp", port_b=port)
        return sum(one.host == self.net.left.name for one in self.net.capture.clear_packets(flow))

    def fresh(self) -> None:
        self.net.capture.clear()

    def passing(self) -> tuple[bool, bool, bool]:
        """Do packets to each of the three ports leave now?"""
        self.fresh()
        time.sleep(MOMENT)
        assert self.seen(OPEN) > 20, "the sender sends"
        return self.seen(SHUT) > 0, self.seen(OTHER) > 0, True

    def reboot(self, *, boot: bool = False) -> None:
        """The daemon is killed, and the kernel forgets all; with `boot` it has the boot filter that was saved."""
        self.daemon.kill()
        loaded = f"cat {self.daemon.directory / BOOT}" if boot else "true"
        ruleset = f"(echo flush ruleset; {loaded}) | nft -f -"
        self.net.left.run("sh", "-c", f"{ruleset} && ip xfrm policy flush && ip xfrm state flush")

    def saved(self) -> bool:
        """Is the boot filter of all policies saved?"""
        return str(OTHER) in (self.daemon.directory / BOOT).read_text()


@pytest.fixture
def scene(two_hosts: topology.TwoHosts) -> Iterator[Scene]:
    with TemporaryDirectory(prefix="xfrmd-") as name:
        made = Scene(two_hosts, Path(name))
        try:
            with made.traffic():
                assert made.passing() == (True, True, True), "the positive control"
                yield made
        finally:
            made.daemon.kill()
        leaks.assert_clean(made.daemon)


def test_the_persistent_policy_is_first_and_stays_whatever_becomes_of_the_other(scene: Scene) -> None:
    daemon = scene.daemon
    daemon.start()
    assert scene.assign(BASE)
    assert scene.passing() == (False, False, True)

    # A start of the system at which the local policy's file keeps its reader waiting: the persistent one is in force,
    # and the boot filter stays until all of it is.
    e2e.wait_until(scene.saved, "the boot filter is saved")
    daemon.policy.unlink()
    scene.fresh()
    scene.reboot(boot=True)
    os.mkfifo(daemon.policy)
    start = threading.Thread(target=daemon.start)
    start.start()
    while (
        "no_policy" in scene.net.left.run("sh", "-c", "nft list table inet xfrmd || echo no_policy", check=False).stdout
    ):
        assert start.is_alive(), daemon.log
    time.sleep(MOMENT)
    assert BOOT_TABLE in scene.net.left.run("nft", "list", "tables").stdout
    daemon.policy.write_text(LOCAL)
    start.join()
    assert scene.seen(SHUT) == scene.seen(OTHER) == 0, "not from the start of the system on"
    assert BOOT_TABLE not in scene.net.left.run("nft", "list", "tables").stdout
    assert scene.passing() == (False, False, True)
    daemon.policy.unlink()

    # The local policy is bad: what was good last is in force, and all of that is seen.
    daemon.write_policy(BAD)
    scene.fresh()
    daemon.kill()
    daemon.start()
    assert scene.seen(SHUT) == scene.seen(OTHER) == 0
    status = daemon.ctl("status", expect=(ExitCode.DEGRADED,))
    (reason,) = status["kernel"]["reasons"]
    assert reason.startswith(f"local store: policy {daemon.policy} cannot be used: {daemon.policy}:")
    assert "its last good policy is in force; mend it" in reason
    assert scene.passing() == (False, False, True)

    # Nothing is left of it: the persistent one stands alone, and a good policy comes beside it again.
    scene.reboot()
    (scene.stores / "local").unlink()
    daemon.start()
    assert scene.passing() == (False, True, True)
    assert daemon.ctl("stores", expect=(ExitCode.DEGRADED,))["stores"][2]["trouble"]["condition"] == "bad"
    daemon.write_policy(LOCAL)
    daemon.ask("reload")
    assert scene.passing() == (False, False, True)


def test_changes_of_the_other_policy_open_nothing_of_the_persistent_one(scene: Scene) -> None:
    daemon = scene.daemon
    daemon.start()
    scene.assign(BASE)
    scene.fresh()
    for text in (CONTRARY, policy("Third", p7003="permit"), LOCAL, CONTRARY):
        daemon.write_policy(text)
        daemon.ask("reload")
    assert not scene.assign(BASE)
    assert scene.seen(SHUT) == 0, "of equal filters the persistent one decides"
    answer = daemon.ask(
        "explain",
        {
            "packet": f"direction=out src={scene.net.left.v4} dst={scene.net.right.v4} "
            f"protocol=udp sport=40000 dport={SHUT}"
        },
    )
    assert (answer["verdict"], answer["store"], answer["runners_up"][0]["lost"]) == ("block", "persistent", "store")
    assert daemon.ctl("unassign")["changed"]
    assert not daemon.ask("unassign")["changed"]
    assert scene.passing() == (True, False, True)


def test_a_kill_in_the_middle_of_an_assignment_leaves_one_policy_or_the_other(scene: Scene) -> None:
    daemon, found = scene.daemon, []
    bases = [policy(f"Base{number}", p7001="block", p7010="permit") for number in range(5)]
    daemon.start()
    scene.assign(bases[0])
    scene.fresh()
    for number, text in enumerate(bases[1:], 1):

        def assign(text: str = text) -> None:
            with contextlib.suppress(XfrmdError, OSError):
                daemon.ask("assign", {"text": text, "file": "/base.yaml", "store": "persistent"})

        request = threading.Thread(target=assign)
        request.start()
        time.sleep(0.01 * 4 ** (number - 1) / 4)
        daemon.kill()
        request.join()
        daemon.start()
        status = daemon.ask("status")
        assert status["state"] == "running", status
        found.append(status["policy"]["name"])
        assert found[-1] in [f"Base{one} + Local" for one in range(number + 1)]
        assert int(found[-1][4]) >= int(found[-2][4]) if len(found) > 1 else True
    assert scene.seen(SHUT) == 0
    assert scene.seen(OTHER) == 0
    assert daemon.ask("unassign", {"store": "persistent"})["changed"]
    assert scene.passing() == (True, False, True)


def test_a_disk_that_is_full_or_read_only_refuses_an_assignment_and_nothing_changes(scene: Scene) -> None:
    daemon, stores = scene.daemon, scene.stores
    stores.mkdir()
    daemon.host.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", stores)
    try:
        daemon.start()
        scene.assign(BASE)
        fill = stores / "fill"
        with contextlib.suppress(OSError), fill.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        scene.fresh()
        large = BASE.replace("name: Base", "name: Large") + "# " + "x" * 8192 + "\n"
        source = daemon.directory / "large.yaml"
        source.write_text(large)
        with pytest.raises(CtlFailed, match="No space left on device") as caught:
            daemon.ctl("assign", source)
        assert caught.value.status == ExitCode.NOT_KEPT
        daemon.host.run("mount", "-o", "remount,ro", stores)
        for command, arguments in (("assign", {"text": large, "file": "/large.yaml"}), ("unassign", {})):
            with pytest.raises(ControlError, match="Read-only file system") as refused:
                daemon.ask(command, arguments)
            assert refused.value.exit_code == ExitCode.NOT_KEPT
        assert daemon.ask("status")["policy"]["name"] == "Base + Local"
        # A local policy is in force all the same, and that it is not kept is told.
        daemon.write_policy(CONTRARY)
        assert daemon.ctl("reload", expect=(ExitCode.DEGRADED,))["policy"] == "Base + Contrary"
        daemon.kill()
        daemon.start()
        reasons = daemon.ask("status")["kernel"]["reasons"]
        assert any("is in force, but is not kept" in one and "Read-only" in one for one in reasons), reasons
        assert scene.seen(SHUT) == scene.seen(OTHER) == 0
        daemon.host.run("mount", "-o", "remount,rw", stores)
        fill.unlink()
        assert scene.assign(large)
        assert daemon.ask("reload")["stores"][2]["trouble"] is None
    finally:
        daemon.kill()
        daemon.host.run("umount", "-l", stores)
