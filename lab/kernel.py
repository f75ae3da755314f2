# SPDX-License-Identifier: GPL-2.0-or-later
"""The user-mode Linux kernel of the lab: named by XFRMD_LAB_KERNEL, else built once from Debian's kernel source.

Cached by the hash of configuration and source version, so that a change of either builds anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMED = "XFRMD_LAB_KERNEL"
SOURCE = "linux-source-6.1"
CONFIG = Path(__file__).with_name("uml.defconfig")
TOOLS = {"gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "tar": "tar"}
HEADERS = {Path("/usr/include/stdio.h"): "libc6-dev"}
NEEDED_SPACE = 4 * 1024**3
"""Octets for the unpacked source and its objects; all but the kernel (10 MB) is removed afterwards."""
STEPS = 1760
"""Lines that a whole build prints, for the progress shown."""
SAID_EVERY = 15.0
"""Seconds between two lines of progress."""


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Build:
    """Where a build takes place, and of what."""

    version: str
    kernel: Path
    directory: Path

    @property
    def log(self) -> Path:
        """What the steps printed; it stays."""
        return self.directory.with_suffix(".log")


def lab_kernel() -> Path:
    """Path of a user-mode Linux kernel, built if need be. LabError when that is not possible."""
    if named := os.environ.get(NAMED):
        if not Path(named).is_file():
            raise LabError(f"{NAMED} names {named}, which does not exist")
        return Path(named)
    build = planned()
    if build.kernel.exists():
        return build.kernel
    build.kernel.parent.mkdir(parents=True, exist_ok=True)
    with _alone(build.kernel.parent / "lock"):
        if not build.kernel.exists():
            _build(build)
    return build.kernel


def is_ready() -> bool:
    """Is a kernel named, or built already? A test is no place to build one."""
    try:
        return NAMED in os.environ or planned().kernel.exists()
    except LabError:
        return False


def cache() -> Path:
    """Directory of built kernels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xfrmd" / "lab"


def planned() -> Build:
    """The build that the configuration and the source at hand call for."""
    version = source_version()
    digest = hashlib.sha256(CONFIG.read_bytes() + version.encode()).hexdigest()[:16]
    return Build(version, cache() / f"linux-{digest}", cache() / f"build-{digest}")


def source_version() -> str:
    """Version of the source package: the installed one, else the one that apt would fetch."""
    installed = _output(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", SOURCE]).split()
    if installed[:1] == ["installed"]:
        return installed[1]
    offered = re.search(r"Candidate: (\S+)", _output(["apt-cache", "policy", SOURCE]))
    if offered is None or offered[1] == "(none)":
        raise LabError(
            f"this host's kernel has no ESP, and apt offers no {SOURCE} to build one from.\n"
            f"  On Debian 12 try 'apt-get update'; elsewhere name a user-mode Linux kernel by {NAMED}=PATH"
        )
    return offered[1]


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock, so that two runs at once do not build twice."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another run is building the kernel: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def _build(build: Build) -> None:
    started = time.monotonic()
    _say(f"this host's kernel has no ESP: building user-mode Linux from {SOURCE} {build.version}, this once")
    _say(f"about {24 // (os.cpu_count() or 1)} minutes on {os.cpu_count()} cores; log: {build.log}")
    _require_space(build.kernel.parent)
    _require_tools()
    shutil.rmtree(build.directory, ignore_errors=True)
    build.directory.mkdir()
    build.log.write_text("")
    try:
        tree = _unpack(build)
        shutil.copy(CONFIG, tree / ".config")
        _logged(build, ["make", "ARCH=um", "olddefconfig"], tree)
        _require_options(tree / ".config")
        _make(build, tree)
        _logged(build, ["strip", "linux"], tree)
        # Copied first, so that a kernel of this name is always whole.
        partial = build.kernel.with_suffix(".new")
        shutil.copy2(tree / "linux", partial)
        partial.rename(build.kernel)
    finally:
        _say("removing source and objects")
        shutil.rmtree(build.directory, ignore_errors=True)
    _say(f"built {build.kernel} in {_duration(started)}")


def _require_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < NEEDED_SPACE:
        raise LabError(f"{directory} has {free >> 20} MB free; the build needs {NEEDED_SPACE >> 20} MB")


def _require_tools() -> None:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    missing += [package for path, package in HEADERS.items() if not path.exists()]
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError(f"to build the kernel, install first: sudo apt-get install {' '.join(missing)}")
    _say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed:\n{done.stderr}")


def _unpack(build: Build) -> Path:
    """The source tree. The package need not be installed: it is fetched and opened where we build."""
    archive = Path("/usr/src") / f"{SOURCE}.tar.xz"
    if not archive.exists():
        _say(f"fetching {SOURCE} {build.version} (about 135 MB)")
        _logged(build, ["apt-get", "download", f"{SOURCE}={build.version}"], build.directory)
        (package,) = build.directory.glob("*.deb")
        _logged(build, ["dpkg-deb", "-x", package.name, "package"], build.directory)
        archive = build.directory / "package/usr/src" / archive.name
    _say("unpacking")
    _logged(build, ["tar", "-xf", str(archive)], build.directory)
    return build.directory / SOURCE


def _logged(build: Build, command: Sequence[str], directory: Path) -> None:
    """Run a step; its output goes to the log, of which a failure shows the end."""
    with build.log.open("a") as log:
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        raise LabError(_failure(build, command))


def _failure(build: Build, command: Sequence[str]) -> str:
    end = "\n".join(build.log.read_text(errors="replace").splitlines()[-20:])
    return f"{' '.join(command)} failed; the end of {build.log}:\n{end}"


def _require_options(path: Path) -> None:
    """Make silently drops what the source does not know: a kernel without ESP would come as a surprise much later."""
    have = set(path.read_text().splitlines())
    wanted = [line for line in CONFIG.read_text().splitlines() if re.match(r"CONFIG_\w+=", line)]
    essential = ("INET", "NF", "XFRM", "UML", "HOSTFS", "VETH", "CRYPTO", "BRIDGE")
    lost = [line for line in wanted if line not in have and line.removeprefix("CONFIG_").startswith(essential)]
    if lost:
        raise LabError(f"{SOURCE} does not take these options of {CONFIG.name}: {' '.join(lost)}")


def _make(build: Build, tree: Path) -> None:
    command = ["make", "ARCH=um", f"-j{os.cpu_count()}", "linux"]
    started = said = time.monotonic()
    _say("compiling")
    with (
        build.log.open("a") as log,
        subprocess.Popen(
            command, cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        ) as making,
    ):
        for number, line in enumerate(making.stdout or (), 1):
            log.write(line)
            if time.monotonic() - said >= SAID_EVERY:
                said = time.monotonic()
                _say(f"compiling, {min(99, number * 100 // STEPS)} % after {_duration(started)}")
    if making.returncode != 0:
        raise LabError(_failure(build, command))


def _duration(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes}:{seconds:02} min"
