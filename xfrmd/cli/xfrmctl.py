# SPDX-License-Identifier: GPL-2.0-or-later
"""`xfrmctl`: check, compile and explain policies, and steer the daemon."""

from __future__ import annotations

from typing import Final

from xfrmd.cli import completion, offline, online, stores
from xfrmd.cli.program import run
from xfrmd.cli.table import Program

PROGRAM: Final[Program] = Program(
    "xfrmctl",
    1,
    "check and explain IPsec policies, steer xfrmd",
    "Check, compile and explain IPsec policies in the Windows model, and steer the daemon xfrmd.",
    (*offline.COMMANDS, *online.COMMANDS, *stores.COMMANDS, completion.command("xfrmctl", lambda: PROGRAM)),
    (
        ("xfrmctl check policy.yaml", "say everything that is wrong with a policy"),
        (
            "xfrmctl explain policy.yaml direction=out src=10.1.0.5 dst=10.1.2.3 dport=445 protocol=tcp",
            "which filter decides this packet, and where it stands",
        ),
    ),
)


def main() -> int:
    """Entry point of the console script. Returns the exit code."""
    return run(PROGRAM)
