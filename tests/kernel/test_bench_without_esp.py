# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon whose handshakes are measured on any kernel has its policy in force and drops what it cannot hold."""

from __future__ import annotations

import os
import shutil

import pytest

from bench.pair import Suite
from bench.responders import CLIENTS, ours_text
from lab.netns import ip_batch, namespaces
from lab.xfrmd_host import program, xfrmd

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]
SUITE = Suite("AES128-GCM", "", "SHA256", "X25519", rules=3)


@pytest.mark.skipif(shutil.which("nft") is None, reason="not installed: nft")
def test_the_policy_is_in_force_and_what_would_be_held_is_dropped() -> None:
    text = ours_text(SUITE, 'psk: {file: "{psk}"}')
    with namespaces("alone") as (host,):
        ip_batch(["link set lo up", "addr add 192.0.2.1/24 dev lo"], host)
        with xfrmd(host, text, secret="a secret", command=program("unprotecting", "bench")) as daemon:
            status = daemon.ask("status")
            assert status["kernel"] == {"state": "equal", "reasons": []}
            assert status["drops"]["daemon"]["internal-errors"] == 0
            assert 'counter name "held" drop' in host.run("nft", "list", "table", "inet", "xfrmd").stdout
            assert daemon.log == "", "nothing is logged"
            assert CLIENTS in host.run("ip", "xfrm", "policy").stdout
