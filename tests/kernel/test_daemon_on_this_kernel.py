# SPDX-License-Identifier: GPL-2.0-or-later
"""On a kernel without ESP a start ends with its own exit code and one line, before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.netns import namespaces
from lab.xfrmd_host import program
from xfrmd.control.exits import ExitCode

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]


def test_a_kernel_without_esp_is_said_in_one_line(tmp_path: Path) -> None:
    with namespaces("noesp") as (host,):
        state = "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode transport enc ecb(cipher_null) ''"
        if host.run("ip", *state.split(), check=False).returncode == 0:
            pytest.skip("this kernel has ESP: the lab tests show the rest")
        (tmp_path / "policy.yaml").write_text("version: 1\n")
        options = ("--policy", tmp_path / "policy.yaml", "--control", tmp_path / "control.sock")
        done = host.run(*program("xfrmd"), "run", *options, check=False)
        assert done.returncode == ExitCode.KERNEL_LACKS
        assert "takes no ESP SA" in done.stderr
        assert done.stderr.count("\n") == 1
        assert host.run("nft", "list", "ruleset").stdout == ""
