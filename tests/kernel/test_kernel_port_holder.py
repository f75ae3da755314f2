# SPDX-License-Identifier: GPL-2.0-or-later
"""The holder of a port, for who may not look into other processes: by the cgroup of its socket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xfrmd.adapters.port_holder import udp_port_holder

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (a cgroup of its own)")]
HOLDER = """
import os, pathlib, socket, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
sock = socket.socket(getattr(socket, sys.argv[2]), socket.SOCK_DGRAM)
sock.bind(("", 0))
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def unit() -> Iterator[Path]:
    """A cgroup such as systemd makes for a service."""
    root = Path("/sys/fs/cgroup")
    top = root if (root / "cgroup.controllers").exists() else root / "unified"
    made = top / f"xfrmd-test-{os.getpid()}.service"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v2 to make a unit in: {error}")
    yield made
    made.rmdir()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_the_unit_of_the_holder_is_named(unit: Path, family: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(unit), family]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert udp_port_holder(port).endswith(f"(pid {holder.pid})")
        listed = subprocess.run(["ss", "-uln", "--cgroup"], capture_output=True, text=True, check=True).stdout
        if "cgroup:" not in listed:
            holder.communicate()
            pytest.skip("this kernel does not tell the cgroup of a socket (udp_diag)")
        assert udp_port_holder(port, tmp_path) == unit.name
        assert udp_port_holder(port, tmp_path, tmp_path) == "another process"
        holder.communicate()
    assert udp_port_holder(port, tmp_path) == "another process"
