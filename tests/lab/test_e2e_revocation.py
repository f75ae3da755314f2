# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists from a web server and answers of openssl's OCSP responder, about the certificate of a real strongSwan."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import topology
from lab.netns import Host
from lab.strongswan import StrongSwan
from lab.traffic import ping
from lab.xfrmd_host import XfrmdHost, xfrmd
from tests.lab import certificates as certs
from tests.lab import e2e
from tests.unit import pki
from tests.unit.pki import Holder
from xfrmd.credentials.revocation import lists_of

Charon = Callable[..., AbstractContextManager[StrongSwan]]
NAMES = {"local": "b.example", "remote": "a.example"}
PORT = 8080


@dataclass(frozen=True)
class Company:
    """An authority, two hosts of it, and where its server keeps its files."""

    ca: Holder
    a: Holder
    b: Holder
    directory: Path

    def publish(self, *revoked: Holder) -> None:
        """Its newest list."""
        (der,) = lists_of(pki.crl(self.ca, *revoked, now=certs.now()))
        (self.directory / "ca.crl").write_bytes(der)

    def tell_responder(self, *revoked: Holder) -> None:
        """Files of `openssl ocsp`: the authority, and its index of certificates (ca(1))."""
        (self.directory / "ca.pem").write_bytes(self.ca.pem)
        (self.directory / "ca.key").write_bytes(self.ca.key_pem)
        lines = []
        for name, one in (("a", self.a), ("b", self.b)):
            ends = f"{one.parsed.not_valid_after_utc:%y%m%d%H%M%S}Z"
            state = ("R", ends, f"{certs.now():%y%m%d%H%M%S}Z") if one in revoked else ("V", ends, "")
            serial = f"{one.parsed.serial_number:X}"
            lines.append("\t".join((*state, serial.zfill(len(serial) + len(serial) % 2), "unknown", f"/CN={name}")))
        (self.directory / "index.txt").write_text("\n".join(lines) + "\n")


def company(directory: Path, server: str, *, responder: bool) -> Company:
    """Its certificates name the server's list, or its responder."""
    url = f"http://{server}:{PORT}/"
    more = pki.places(responders=[url]) if responder else pki.places(f"{url}ca.crl")
    ca = certs.root("p256")
    a, b = (certs.host(name, ca, "p256", more=more) for name in "ab")
    return Company(ca, a, b, directory)


@contextlib.contextmanager
def served(host: Host, *command: str | Path) -> Iterator[None]:
    """A server in a host, once it takes connections."""
    process = host.popen(*command)
    try:
        e2e.wait_until(
            lambda: f":{PORT} " in host.run("ss", "-Hltn", f"sport = :{PORT}").stdout, f"a server: {command[:3]}", 20.0
        )
        yield
    finally:
        process.terminate()
        process.wait(10)


def web(directory: Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-m", "http.server", str(PORT), "--directory", directory)


def responder(directory: Path) -> tuple[str | Path, ...]:
    signer = ("-CA", directory / "ca.pem", "-rsigner", directory / "ca.pem", "-rkey", directory / "ca.key")
    return ("openssl", "ocsp", "-port", str(PORT), "-index", directory / "index.txt", *signer, "-ndays", "1")


@contextlib.contextmanager
def ends(
    net: topology.TwoHosts, charon: Charon, one: Company, directory: Path
) -> Iterator[tuple[XfrmdHost, StrongSwan]]:
    """Both ends. Pings are protected, the server's port is nobody's business."""
    directory.mkdir()
    method = certs.Files(directory).rootca(one.ca, [one.a], ", fetch: yes, strongcrlcheck: 2")
    text = certs.policy(method).replace("{srcaddr: me, dstaddr: any}", "{srcaddr: me, dstaddr: any, protocol: icmp}")
    conf = certs.charon(net.right.v4, net.left.v4, **NAMES)
    files = certs.charon_files([one.ca], one.b)
    with xfrmd(net.left, text) as ours, charon(net.right, conf, plugins=certs.CHARON_PLUGINS, files=files) as theirs:
        yield ours, theirs


@pytest.mark.parametrize("source", ["list", "responder"])
def test_who_is_good_comes_in_and_who_is_revoked_does_not(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path, source: str
) -> None:
    net, asks_responder = two_hosts, source == "responder"
    one = company(tmp_path, net.right.v4, responder=asks_responder)
    tell = one.tell_responder if asks_responder else one.publish
    server = responder(tmp_path) if asks_responder else web(tmp_path)
    tell()
    with served(net.right, *server), ends(net, strongswan, one, tmp_path / "good") as (ours, theirs):
        assert ping(net.left, net.right.v4, 3, wait=10.0).lost == 0, ours.log + theirs.log
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
        assert {each["remote_id"] for each in e2e.sas(ours)["ike_sas"]} == {"b.example"}
    net.capture.clear()
    tell(one.b)
    serving = contextlib.ExitStack()
    serving.enter_context(served(net.right, *server))
    with serving, ends(net, strongswan, one, tmp_path / "revoked") as (ours, _):
        assert ping(net.left, net.right.v4, 2, wait=10.0).lost == 2, ours.log
        e2e.wait_until(lambda: "was revoked by" in ours.log, "a refusal that says why", 20.0)
        # What was learnt is known to the next run, whose questions nobody answers.
        serving.close()
        ours.stop()
        before = ours.log.count("was revoked by")
        ours.start()
        assert ping(net.left, net.right.v4, 2, wait=10.0).lost == 2, ours.log
        e2e.wait_until(lambda: ours.log.count("was revoked by") > before, "another refusal that says why", 20.0)
        assert not e2e.child_spis(ours)
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))


def test_nobody_comes_in_unjudged_and_the_journal_says_whom_it_asked(
    two_hosts: topology.TwoHosts, strongswan: Charon, tmp_path: Path
) -> None:
    net = two_hosts
    one = company(tmp_path, net.right.v4, responder=False)
    with ends(net, strongswan, one, tmp_path / "nobody") as (ours, _):
        assert ping(net.left, net.right.v4, 2, wait=12.0).lost == 2, ours.log
        told = f"http://{net.right.v4}:{PORT}/ca.crl"
        e2e.wait_until(lambda: told in ours.log and "[auth-failed]" in ours.log, "a refusal that names the list", 20.0)
        assert not e2e.child_spis(ours)
        # The positive control of the refusal: the same with a server comes in.
        one.publish()
        with served(net.right, *web(tmp_path)):
            ours.ctl("reload")
            assert ping(net.left, net.right.v4, 3, wait=10.0).lost == 0, ours.log
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
