# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon's life in the lab: failed starts that say why, reloads, stops and crashes that leave the fence standing."""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab import topology
from lab.netns import Host
from lab.ready import NotReady
from lab.traffic import ping
from lab.xfrmd_host import ROOT, XfrmdHost, program, xfrmd
from tests.lab import chaos, e2e
from xfrmd import limits
from xfrmd.control.exits import ExitCode

BAD = e2e.policy().replace("negotiate", "negociate").replace("version: 1", "version: 7")


@pytest.fixture
def alone(two_hosts: topology.TwoHosts) -> Iterator[XfrmdHost]:
    """A daemon of the left host with a policy that is good, not started; stopped at the end."""
    with TemporaryDirectory(prefix="xfrmd-") as name:
        daemon = XfrmdHost(two_hosts.left, Path(name))
        secret = daemon.write_secret("psk", e2e.SECRET)
        daemon.write_policy(e2e.policy().replace("{psk}", str(secret)))
        yield daemon
        daemon.kill()


def status_of_failed_start(daemon: XfrmdHost) -> int | None:
    with pytest.raises(NotReady) as caught:
        daemon.start()
    return caught.value.status


def table(host: Host) -> str:
    """Our nftables table, "" when there is none."""
    return host.run("nft", "--stateless", "list", "table", "inet", "xfrmd", check=False).stdout


def states(host: Host) -> str:
    return host.run("ip", "xfrm", "state").stdout


def test_a_port_in_use_names_its_holder_and_the_policy_is_enforced_all_the_same(alone: XfrmdHost) -> None:
    holder = alone.host.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with holder:
        holder.bind(("", 500))
        assert status_of_failed_start(alone) == ExitCode.PORT_IN_USE
    assert "UDP port 500 is in use by" in alone.log
    assert "(pid " in alone.log
    assert "fence" in table(alone.host)


def test_a_bad_policy_ends_the_start_with_every_problem_and_touches_nothing(alone: XfrmdHost) -> None:
    alone.write_policy(BAD)
    assert status_of_failed_start(alone) == ExitCode.NO_POLICY
    assert alone.log.count("[policy-problem]") == 3
    assert table(alone.host) == ""


def test_a_missing_policy_file_and_a_missing_privilege_have_their_line(alone: XfrmdHost) -> None:
    alone.policy.unlink()
    assert status_of_failed_start(alone) == ExitCode.NO_POLICY
    assert f"not started: local store: policy {alone.policy} cannot be used: No such file or directory" in alone.log
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *program("xfrmd"), "run"]
    done = alone.host.run(*command, "--control", alone.directory / "c", check=False)
    assert done.returncode == ExitCode.NO_PRIVILEGE
    assert "CAP_NET_ADMIN" in done.stderr
    # Neither privilege nor the directory of the control socket: what is told is what has to be put right first.
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *program("xfrmd"), "run"]
    nobody = alone.host.run(*command, "--control", "/nonexistent/c", check=False)
    assert nobody.returncode == ExitCode.NO_PRIVILEGE
    assert "Traceback" not in done.stderr + alone.log


def test_a_second_daemon_on_the_same_socket_leaves_the_first_alone(alone: XfrmdHost) -> None:
    alone.start()
    before = table(alone.host)
    second = XfrmdHost(alone.host, alone.directory)
    assert status_of_failed_start(second) == ExitCode.PORT_IN_USE
    assert "another xfrmd serves" in second.log
    assert table(alone.host) == before
    assert alone.ask("status")["state"] == "running"


def test_a_second_daemon_on_another_socket_leaves_the_first_alone(alone: XfrmdHost) -> None:
    alone.start()
    before = table(alone.host)
    done = alone.host.run(*program("xfrmd"), "run", "--control", alone.directory / "other", check=False)
    assert done.returncode == ExitCode.PORT_IN_USE
    assert "another xfrmd runs here" in done.stderr
    assert table(alone.host) == before
    assert alone.ask("status")["state"] == "running"


def test_bad_policies_never_replace_a_good_one(alone: XfrmdHost) -> None:
    alone.start()
    name = alone.ask("status")["policy"]["name"]
    bad = alone.directory / "bad.yaml"
    bad.write_text(BAD)
    answer = alone.ctl("apply", bad, expect=(ExitCode.ERROR,))
    assert len(answer["error"]["problems"]) == 3
    alone.write_policy(BAD)
    assert alone.process is not None
    alone.process.send_signal(signal.SIGHUP)
    e2e.wait_until(lambda: "reload-failed" in alone.log, "the failed reload is told")
    assert alone.log.count("[policy-problem]") == 3
    status = alone.ask("status")
    assert (status["state"], status["policy"]["name"]) == ("running", name)
    assert "fence" in table(alone.host)


def test_what_others_take_is_put_back_and_what_they_add_is_degraded_with_its_own_exit_code(alone: XfrmdHost) -> None:
    alone.start()
    before = chaos.mends(alone)
    alone.host.run("ip", "xfrm", "policy", "flush")
    chaos.whole_again(alone, before)
    assert alone.ctl("status")["kernel"] == {"state": "equal", "reasons": []}
    assert alone.log.count("kernel-mended") == 1, alone.log

    foreign = "ip xfrm policy %s dir out src 10.1.0.1/32 dst 10.0.0.0/8"
    alone.host.run(*(foreign % "add").split(), "priority", "100")
    answer = alone.ctl("status", expect=(ExitCode.DEGRADED,))
    assert any("a foreign policy stands in the way" in reason for reason in answer["kernel"]["reasons"])
    alone.host.run(*(foreign % "delete").split())
    e2e.wait_until(lambda: alone.ask("status")["kernel"]["state"] == "equal", "the foreign policy has gone")
    assert chaos.mends(alone) == before + 1, "what is foreign is left alone"


def test_who_fights_us_is_told_once_and_followed_at_a_pace(alone: XfrmdHost) -> None:
    alone.start()
    before, begun = chaos.mends(alone), time.monotonic()
    fight = "for n in $(seq 40); do nft delete table inet xfrmd 2>/dev/null; sleep 0.05; done"
    alone.host.run("sh", "-c", fight)
    chaos.whole_again(alone, before)
    e2e.wait_until(lambda: "inet xfrmd" in alone.host.run("nft", "list", "tables").stdout, "the table is back")
    first, last = limits.MEND_PAUSE
    seldom = math.log2(last / first) + 2 + (time.monotonic() - begun) / last
    assert chaos.mends(alone) - before < seldom, "no hot loop"
    assert alone.log.count("kernel-mended") == 1, alone.log
    answer = alone.ctl("status", expect=(ExitCode.DEGRADED,))
    assert any("keeps changing" in reason for reason in answer["kernel"]["reasons"])


def test_a_new_address_is_part_of_me_within_moments(alone: XfrmdHost) -> None:
    alone.start()
    alone.host.run("ip", "addr", "add", "10.1.0.77/24", "dev", "eth0")
    e2e.wait_until(lambda: "facts-changed" in alone.log, "the facts change")
    assert "10.1.0.77" in table(alone.host)
    packet = "direction=out src=10.1.0.77 dst=10.1.0.2 protocol=tcp dport=80"
    assert alone.ask("explain", {"packet": packet})["verdict"] == "negotiate"
    assert alone.ask("status")["state"] == "running"


def test_a_stop_tells_the_peer_and_removes_sas_and_the_fence_stays(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0
        assert "proto esp" in states(net.left)
        assert left.stop() == 0
        assert states(net.left) == ""
        assert right.ask("sas") == {"ike_sas": [], "child_sas": []}
        assert "fence" in table(net.left)
        assert ping(net.left, net.right.v4, 1, wait=0.5).received == 0
        net.capture.assert_nothing_clear(topology.between(net.left, net.right))
        left.start()
        assert ping(net.left, net.right.v4, 2).lost == 0, left.log + right.log


def test_after_a_crash_the_fence_stands_and_a_new_start_negotiates_anew(two_hosts: topology.TwoHosts) -> None:
    net = two_hosts
    with (
        xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left,
        xfrmd(net.right, e2e.policy(), secret=e2e.SECRET) as right,
    ):
        assert ping(net.left, net.right.v4, 2).lost == 0
        old = e2e.child_spis(left)
        left.kill()
        # The SAs are the kernel's: what they carry goes on.
        assert ping(net.left, net.right.v4, 2).lost == 0
        left.start()
        assert ping(net.left, net.right.v4, 3).lost == 0, left.log + right.log
        assert not old & e2e.child_spis(left)
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))


def test_open_removes_everything_of_a_dead_daemon_and_refuses_beside_a_living_one(
    two_hosts: topology.TwoHosts,
) -> None:
    net = two_hosts
    with xfrmd(net.left, e2e.policy(), secret=e2e.SECRET) as left:

        def opened() -> int:
            command = [*program("xfrmd"), "open", "--control", str(left.control)]
            return net.left.run(*command, check=False, env={"PYTHONPATH": str(ROOT)}).returncode

        assert opened() != 0
        assert "fence" in table(net.left)
        left.kill()
        assert ping(net.left, net.right.v4, 2, wait=0.5).received == 0
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))
        assert opened() == 0
        assert table(net.left) == ""
        assert net.left.run("ip", "xfrm", "policy").stdout == ""
        assert ping(net.left, net.right.v4, 1).lost == 0
    net.capture.assert_seen_clear(topology.between(net.left, net.right, "icmp"))
