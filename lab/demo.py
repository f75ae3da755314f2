# SPDX-License-Identifier: GPL-2.0-or-later
"""`make demo`: two hosts, one policy, and everything it promises, seen on the wire; then again with certificates.

Ends with 1 if anything fails.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator

from lab import demo_certificates, topology
from lab.demo_stage import BOLD, PLAIN, Failed, command, heading, require, show, xfrmctl
from lab.netns import CommandFailed, Host
from lab.packets import Kind
from lab.ready import NotReady
from lab.traffic import Flood, Ping, tcp_echo
from lab.xfrmd_host import CtlFailed, XfrmdHost, xfrmd
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError

POLICY = """\
version: 1
filterlists:
  - name: our network
    filters:
      - {srcaddr: me, dstaddr: 10.1.0.0/24}
      - {srcaddr: me, dstaddr: "fd01::/64"}
  - name: telnet
    filters:
      - {srcaddr: 10.1.0.0/24, dstaddr: me, protocol: tcp, dstport: 23}
filteractions:
  - name: require security
    action: negotiate
    qmsecmethods: ["ESP[AES128-GCM]:100000k/3600s"]
  - name: block
    action: block
policies:
  - name: Office
    assign: yes
    mmsecmethods: [AES128GCM-SHA256-X25519]
    rules:
      - {name: protect all, filterlist: our network, filteraction: require security, psk: {file: "{psk}"}}
      - {name: no telnet, filterlist: telnet, filteraction: block}
"""
WEB_LIST = """\
  - name: web
    filters:
      - {srcaddr: me, dstaddr: 10.1.0.0/24, protocol: tcp, dstport: 80}
      - {srcaddr: 10.1.0.0/24, dstaddr: me, protocol: tcp, dstport: 80}
filteractions:
  - {name: permit, action: permit}
"""
CHANGED = POLICY.replace("filteractions:\n", WEB_LIST) + "      - {name: web, filterlist: web, filteraction: permit}\n"
"""The same with web servers outside of the protection."""
LOCKING = """\
version: 1
filterlists:
  - name: everything
    filters:
      - {srcaddr: me, dstaddr: any}
filteractions:
  - {name: block, action: block}
policies:
  - name: Shut
    assign: yes
    rules:
      - {name: shut, filterlist: everything, filteraction: block}
"""
SECRET = "the demo's shared secret, 32 octets"
WEB, TELNET = 80, 23


def connects(source: Host, address: str, port: int, seconds: float) -> bool:
    """Can `source` open a TCP connection?"""

    def attempt() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((address, port), seconds):
            return True
        return False

    return source.inside(attempt)


def seen(net: topology.TwoHosts) -> str:
    """What was on the wire, by kind."""
    counts = Counter(each.packet.kind for each in net.capture.packets)
    return ", ".join(f"{count} {kind.value}" for kind, count in counts.most_common()) or "nothing"


def first_ping(net: topology.TwoHosts) -> None:
    """The packet that asks for an SA is held and sent: none is lost."""
    command(f"ping -c 4 {net.right.v4}")
    said = net.left.run("ping", "-c", "4", "-i", "0.2", "-W", "10", net.right.v4).stdout
    show(said)
    require(" 0% packet loss" in said, "4 of 4 answered: the first packet waited for its SA and was sent")
    said = net.left.run("ping", "-c", "2", "-i", "0.2", "-W", "10", net.right.v6).stdout
    require(" 0% packet loss" in said, f"IPv6 as well: 2 of 2 answered by {net.right.v6}")


def on_the_wire(net: topology.TwoHosts) -> None:
    """Only ESP and the IKE that made it."""
    for each in [one for one in net.capture.packets if one.packet.kind is not Kind.NEIGHBOUR][:12]:
        show(str(each.packet))
    net.capture.assert_protected(topology.between(net.left, net.right))
    require(True, f"between the hosts: {seen(net)}; in the clear: none")


def rekey(net: topology.TwoHosts, left: XfrmdHost) -> None:
    """A child SA and then the IKE SA are replaced under traffic."""
    before = left.ask("sas")
    child = next(one for one in before["child_sas"] if one["remote"] == net.right.v4)
    flood = Flood(net.left, Ping(net.right.v4), rate=100, seconds=60).start()
    try:
        flood.wait_for(20)
        for spi in (child["spi_in"], child["ike_spi"]):
            xfrmctl(left, "rekey", "--wait", "10", spi)
            flood.wait_for(20)
    finally:
        outcome = flood.stop()
    after = left.ask("sas")
    spis = {one["spi_in"] for one in after["child_sas"]} | {one["spi_local"] for one in after["ike_sas"]}
    require(not spis & {child["spi_in"], child["ike_spi"]}, "child SA and IKE SA have new SPIs and new keys")
    outcome.assert_none_lost()
    require(True, f"{outcome.sent} pings meanwhile, 100 a second: none lost")
    net.capture.assert_nothing_clear(topology.between(net.left, net.right))


def blocked_port(net: topology.TwoHosts, right: XfrmdHost) -> None:
    """Telnet is blocked on the right host, whoever carries it; the port beside it works."""
    with tcp_echo(net.right, net.right.v4, WEB), tcp_echo(net.right, net.right.v4, TELNET):
        require(connects(net.left, net.right.v4, WEB, 10), f"TCP port {WEB} of {net.right.v4} answers, inside ESP")
        require(not connects(net.left, net.right.v4, TELNET, 2), f"TCP port {TELNET} does not, though a server listens")
    said = xfrmctl(
        right, "explain", "direction=in", f"src={net.left.v4}", f"dst={net.right.v4}", "protocol=tcp", f"dport={TELNET}"
    )
    require(re.search(r"rule: +no telnet\n", said), "explain names the rule that decides")
    require(re.search(r" at: .*policy\.yaml:9:9\n", said), "and where its filter stands: line 9 of the file")
    require("over 'protect all', as it names a protocol" in said, "and why it wins over the next one")


def change(net: topology.TwoHosts, *daemons: XfrmdHost) -> None:
    """What a change of the policy does to traffic is told before it is applied, and so it comes."""
    for daemon in daemons:
        daemon.write_policy(CHANGED.replace("{psk}", str(daemon.directory / "psk")))
    left, _ = daemons
    show(WEB_LIST + "...")
    said = xfrmctl(left, "diff", "running", str(left.policy), "--fail-on", "new-clear", code=ExitCode.DIFFERS)
    wanted = f"in  10.1.0.0/24 -> {net.left.v4}:{WEB} tcp"
    require("new-clear, unprotected" in said and wanted in said, "diff says what would pass in the clear; status 9")
    for daemon in daemons:
        daemon.ctl("reload")
    net.capture.clear()
    with tcp_echo(net.right, net.right.v4, WEB):
        require(connects(net.left, net.right.v4, WEB, 10), f"applied to both, TCP port {WEB} answers")
    clear = net.capture.clear_packets(topology.between(net.left, net.right))
    require(clear and all(WEB in one.packet.ports for one in clear), "on the wire: in the clear, and nothing else is")
    require(xfrmctl(left, "diff", "running", str(left.policy)).startswith("no difference"), "nothing differs any more")


def mistake(net: topology.TwoHosts, left: XfrmdHost) -> None:
    """A policy that would lock everybody out is refused, and the one in force stays."""
    locking = left.directory / "locking.yaml"
    locking.write_text(LOCKING)
    show(LOCKING)
    said = xfrmctl(left, "apply", str(locking), code=ExitCode.ERROR)
    require("nobody can reach TCP port 22" in said, "refused, with the place and what to do")
    require(xfrmctl(left, "diff", "running", str(left.policy)).startswith("no difference"), "the old policy stays")
    said = net.left.run("ping", "-c", "1", "-W", "10", net.right.v4).stdout
    require(" 0% packet loss" in said, f"{net.right.v4} still answers")


@contextlib.contextmanager
def daemons(net: topology.TwoHosts) -> Iterator[tuple[XfrmdHost, XfrmdHost]]:
    """Both hosts run xfrmd."""
    with xfrmd(net.left, POLICY, secret=SECRET) as left, xfrmd(net.right, POLICY, secret=SECRET) as right:
        yield left, right


def demo() -> None:
    """The whole of it."""
    heading("Two hosts on one link, every packet on it recorded")
    with topology.two_hosts() as net:
        show(f"left   {net.left.v4}  {net.left.v6}\nright  {net.right.v4}  {net.right.v6}")
        net.left.run("ping", "-q", "-c", "2", "-i", "0.2", net.right.v4)
        require(net.capture.clear_packets(topology.between(net.left, net.right)), f"without a policy: {seen(net)}")
        heading("One policy for both, in Windows' words")
        show(POLICY.replace("{psk}", "/etc/xfrmd/psk"))
        with daemons(net) as (left, right):
            net.capture.clear()
            heading("What it means on the left host")
            xfrmctl(left, "compile", str(left.policy), lines=24)
            heading("A ping: its first packet asks for an SA")
            first_ping(net)
            heading("The SAs")
            xfrmctl(left, "sas")
            heading("On the wire")
            on_the_wire(net)
            heading("Rekey under a running ping")
            rekey(net, left)
            heading("A blocked port, and why")
            blocked_port(net, right)
            heading("A change, and what it would do to traffic")
            change(net, left, right)
            heading("A mistake that would lock everybody out")
            mistake(net, left)
            heading("All in short")
            xfrmctl(left, "status")
        demo_certificates.act(net)


def main() -> int:
    """Run the demo; 1 when something did not hold."""
    begun = time.monotonic()
    try:
        demo()
    except (Failed, AssertionError, CommandFailed, CtlFailed, NotReady, ControlError, TimeoutError) as error:
        print(f"\n{BOLD}FAILED:{PLAIN} {error}", flush=True)
        return 1
    print(f"\n{BOLD}All of it held, in {time.monotonic() - begun:.0f} s.{PLAIN}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
