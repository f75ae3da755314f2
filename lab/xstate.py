# SPDX-License-Identifier: GPL-2.0-or-later
"""A library that user-mode Linux needs on processors with more registers than that kernel keeps (uml-xstate.c)."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from lab.kernel import LabError, cache

SOURCE = Path(__file__).with_name("uml-xstate.c")
CPUINFO = Path("/proc/cpuinfo")
FLAG = "amx_tile"
"""The one processor feature so far whose registers are larger than what user-mode Linux 6.1 makes room for."""


def preloaded(cpuinfo: str | None = None, directory: Path | None = None) -> dict[str, str]:
    """Environment for the kernel on this processor. The library is built once, in `directory` (the lab's cache), where
    it is needed. LabError without a compiler.
    """
    text = CPUINFO.read_text() if cpuinfo is None else cpuinfo
    if FLAG not in text.split():
        return {}
    library = (directory or _directory()) / f"xstate-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        _build(library)
    return {"LD_PRELOAD": str(library)}


def _directory() -> Path:
    """The lab's cache; a directory of the user's own in the place for temporary files where the home is another's."""
    home = cache()
    nearest = next(path for path in (home, *home.parents) if os.access(path.parent, os.X_OK) and path.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return home
    own = Path(tempfile.gettempdir()) / f"xfrmd-lab-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LabError(f"{own} is not a directory that only this user may write: remove it")
    return own


def _build(library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise LabError(
            "this processor has AMX, and user-mode Linux needs a compiler for it: apt-get install gcc libc6-dev"
        )
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as directory:
        made = Path(directory) / library.name
        command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)} failed:\n{done.stderr}")
        os.replace(made, library)  # noqa: PTH105 (atomic, also beside another run)
