# SPDX-License-Identifier: GPL-2.0-or-later
"""The second act of `make demo`: the same two hosts know each other by certificates, and a stranger by his."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from lab import topology
from lab.demo_stage import command, heading, require, show, xfrmctl
from lab.netns import Host
from lab.xfrmd_host import XfrmdHost, xfrmd

POLICY = """\
version: 1
filterlists:
  - name: our network
    filters:
      - {srcaddr: me, dstaddr: 10.1.0.0/24}
filteractions:
  - name: require security
    action: negotiate
    qmsecmethods: ["ESP[AES256-GCM]"]
policies:
  - name: Office
    assign: yes
    mmsecmethods: [AES256GCM-SHA384-ECP384]
    rules:
      - name: protect all
        filterlist: our network
        filteraction: require security
        rootca:
          ca: {file: /etc/xfrmd/ca.pem}
          certificate: {file: /etc/xfrmd/host.pem}
          key: {file: /etc/xfrmd/host.key}
"""
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")


def openssl(directory: Path, *words: str) -> None:
    """Run openssl where the files lie; shown as an operator would type it."""
    command(f"openssl {' '.join(words)}")
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True, timeout=30)


def authority(directory: Path, name: str, subject: str) -> None:
    """A root certificate with its key: NAME.pem, NAME.key."""
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        directory,
        "req",
        "-x509",
        *_EC,
        "-subj",
        f"/CN={subject}",
        *usage,
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.pem",
    )


def host(directory: Path, name: str, by: str) -> None:
    """A host's certificate with NAME.example as its name, and its key."""
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}.example")
    signed = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key")
    openssl(
        directory,
        "req",
        "-x509",
        *_EC,
        *names,
        *signed,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.pem",
    )


@contextlib.contextmanager
def known_as(at: Host, files: Path, name: str, ca: str = "ca") -> Iterator[XfrmdHost]:
    """An xfrmd with the certificate of this name, which trusts this authority."""
    policy = POLICY
    for word, file in (("ca.pem", f"{ca}.pem"), ("host.pem", f"{name}.pem"), ("host.key", f"{name}.key")):
        policy = policy.replace(f"/etc/xfrmd/{word}", str(files / file))
    with xfrmd(at, policy) as daemon:
        yield daemon


def friends(net: topology.TwoHosts, files: Path) -> None:
    """Both below one authority."""
    with known_as(net.left, files, "left") as left, known_as(net.right, files, "right"):
        net.capture.clear()
        command(f"ping -c 3 {net.right.v4}")
        said = net.left.run("ping", "-c", "3", "-i", "0.2", "-W", "10", net.right.v4).stdout
        require(" 0% packet loss" in said, "3 of 3 answered")
        said = xfrmctl(left, "sas")
        require("right.example" in said, "the right host has proved to be right.example")
        net.capture.assert_protected(topology.between(net.left, net.right, "icmp"))
        wire = b"".join(one.frame for one in net.capture.frames)
        require(b"right.example" not in wire, "on the wire: ESP and IKE; neither a ping nor a name can be read")


def stranger(net: topology.TwoHosts, files: Path) -> None:
    """A certificate for the right name, by somebody else."""
    with known_as(net.left, files, "left") as left, known_as(net.right, files, "stranger", "other"):
        net.capture.clear()
        command(f"ping -c 1 -W 2 {net.left.v4}    # on the right host")
        said = net.right.run("ping", "-c", "1", "-W", "2", net.left.v4, check=False).stdout
        require(" 100% packet loss" in said, "no answer, and nothing is sent in the clear")
        net.capture.assert_nothing_clear(topology.between(net.left, net.right, "icmp"))
        said = xfrmctl(left, "status")
        require(
            "auth-failed" in said and "CN=stranger" in said,
            "the left one's operator reads whose certificate was refused, and why",
        )


def act(net: topology.TwoHosts) -> None:
    """The whole of it."""
    heading("Second act: certificates")
    with TemporaryDirectory(prefix="demo-") as name:
        files = Path(name)
        authority(files, "ca", "Office Root")
        for one in ("left", "right"):
            host(files, one, "ca")
        show(POLICY.partition("    rules:\n")[2])
        heading("A ping between two that have certificates of one authority")
        friends(net, files)
        heading("The right host comes back with a certificate of another authority")
        authority(files, "other", "Somebody Else")
        host(files, "stranger", "other")
        stranger(net, files)
