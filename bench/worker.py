# SPDX-License-Identifier: GPL-2.0-or-later
"""One measurement in a process of its own: `python -m bench.worker NAME ARGS`, arguments in JSON. Prints JSON.

Network namespaces are made by the process itself; it needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import boot, childless, crowd, floods, life, loading, packets, peered, responders, spd, storm
from bench.report import tell
from lab.session import HUNG

WORKERS: Final[dict[str, Callable[..., Any]]] = {
    "ours": loading.ours,
    "by_hand": loading.by_hand,
    "changed": loading.changed,
    "edited": loading.edited,
    "many": packets.many,
    "classes": packets.classes,
    "written": packets.written,
    "negotiating": packets.negotiating,
    "wildcards": packets.wildcards,
    "installed": spd.installed,
    "booted": boot.loaded,
    "started": life.started,
    "restarted": life.restarted,
    "responders": responders.responders,
    "childless": childless.childless,
    "flooded": floods.flooding,
    "crowd": crowd.crowd,
    "peered": peered.peered,
    "storm": storm.storm,
}

LAB: Final = Path(__file__).parents[1] / "lab" / "run"


def measure(name: str, *arguments: object, lab: bool = False) -> Any:
    """Run a worker, in a kernel of the lab if need be, and wait for what it measured. Its progress goes where ours
    goes. RuntimeError when it fails.
    """
    inside = [str(LAB), "--"] if lab else []
    return told_by([*inside, sys.executable, "-m", "bench.worker", name, *map(json.dumps, arguments)])


def told_by(command: Sequence[str]) -> Any:
    """The last line that a command prints, from JSON: in a lab, what is told on the way stands before it. A kernel of
    the lab that hangs (lab/README.md, Notes) is tried once more.
    """
    for _ in range(2):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != HUNG:
            break
        tell("the lab's kernel hangs")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(name: str, *arguments: str) -> None:
    """Run one and print what it measured."""
    print(json.dumps(WORKERS[name](*map(json.loads, arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
