# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that loads the boot filter, in a host of the lab, with a state directory and a console of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.netns import Host

UNITS = Path(__file__).resolve().parents[1] / "units"
TABLE = "xfrmd_boot"


class BootLoader:
    """units/boot-filter in `host`. `state` is the daemon's state directory; `run` stands for /run."""

    def __init__(self, host: Host, state: Path, run: Path) -> None:
        self.host, self.state, self._run = host, state, run
        self._console, self._cmdline = run / "console", run / "cmdline"
        self.set_cmdline("quiet")

    def set_cmdline(self, words: str) -> None:
        """What the kernel was started with."""
        self._cmdline.write_text(f"{words}\n")

    def load(self, what: str = "boot") -> subprocess.CompletedProcess[str]:
        """Run it: `boot` or `block`."""
        environ = {
            "XFRMD_BOOT_STATE": str(self.state),
            "XFRMD_BOOT_FIXED": str(UNITS / "block.nft"),
            "XFRMD_BOOT_RUN": str(self._run),
            "XFRMD_BOOT_CONSOLE": str(self._console),
            "XFRMD_BOOT_CMDLINE": str(self._cmdline),
        }
        self._console.touch()
        return self.host.run("sh", UNITS / "boot-filter", what, check=False, env=environ)

    @property
    def console(self) -> str:
        """All that was said on the console."""
        return self._console.read_text() if self._console.exists() else ""

    @property
    def stands(self) -> bool:
        """Is there a boot filter?"""
        return f"table inet {TABLE}" in self.host.run("nft", "list", "tables").stdout
