# SPDX-License-Identifier: GPL-2.0-or-later
"""`xfrmd`: the daemon's program."""

from __future__ import annotations

from typing import Final

from xfrmd.cli.program import run
from xfrmd.cli.table import Elsewhere, Program

PROGRAM: Final = Program(
    "xfrmd",
    8,
    "IPsec by Windows policies, with its own IKE",
    "Compile the assigned IPsec policy for this host, keep the kernel equal to it, and negotiate keys by IKEv2.",
    (Elsewhere("open", "xfrmd.cli.run"), Elsewhere("run", "xfrmd.cli.run")),
    (("xfrmd run --policy /etc/xfrmd/policy.yaml", "run the daemon, as its systemd unit does"),),
)


def main() -> int:
    """Entry point of the console script. Returns the exit code."""
    return run(PROGRAM)
