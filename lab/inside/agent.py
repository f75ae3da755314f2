# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in a guest what the machine outside asks for: a file NUMBER.ask holds a line for the shell, NUMBER.answer its
status and output.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

SHARE = Path("/lab/share/asked")
TICK = 0.03


def main() -> None:
    (SHARE.parent / "agent-up").touch()
    while True:
        for ask in sorted(SHARE.glob("*.ask")):
            line = ask.read_text()
            ask.unlink()
            done = subprocess.run(
                ["/bin/sh", "-c", line], capture_output=True, text=True, errors="replace", check=False
            )
            answer = ask.with_suffix(".new")
            answer.write_text(json.dumps({"status": done.returncode, "out": done.stdout, "err": done.stderr}))
            answer.rename(ask.with_suffix(".answer"))
        time.sleep(TICK)


main()
