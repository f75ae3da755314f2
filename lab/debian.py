# SPDX-License-Identifier: GPL-2.0-or-later
"""A small Debian 12 of its own, made once and cached, for guests that boot systemd as their first process."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.kernel import LabError, cache

SUITE = "bookworm"
SYSTEM = (
    *(
        "base-files",
        "base-passwd",
        "bash",
        "coreutils",
        "dash",
        "debianutils",
        "diffutils",
        "dpkg",
        "findutils",
        "grep",
    ),
    *("gzip", "hostname", "init-system-helpers", "libc-bin", "login", "mawk", "mount", "passwd", "perl-base", "sed"),
    *("sysvinit-utils", "tar", "util-linux", "systemd", "systemd-sysv", "netbase", "procps"),
)
NEEDED = ("iproute2", "nftables", "python3", "python3-nftables", "python3-systemd")
"""What our package depends on, so that dpkg can install it without a network."""
TOOLS = ("tcpdump",)
GUEST = (*SYSTEM, *NEEDED, *TOOLS)
INITRAMFS = (*SYSTEM, "nftables", "initramfs-tools")
"""A Debian apart, which makes initramfs images: what that needs changes how a system boots."""
PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
"""Of this machine, and the packages that bring them."""
OPTIONS = (
    "--variant=custom",
    "--aptopt=APT::Install-Recommends false",
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "locale", "doc")),
)
INSIDE = Path(__file__).with_name("inside")
MASKED = (
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
)


def missing() -> str:
    """What is needed and not there, as the command that adds it; "" when all is."""
    lacking = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(lacking)}" if lacking else ""


def debian(packages: tuple[str, ...] = GUEST) -> Path:
    """The root of a fresh Debian, made in about a minute where the cache has none; LabError when it cannot be."""
    digest = hashlib.sha256(repr((SUITE, packages, OPTIONS)).encode()).hexdigest()[:16]
    root = cache() / f"debian-{digest}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=root.parent, prefix="debian-new-") as directory:
                made = Path(directory) / "root"
                _run("mmdebstrap", *OPTIONS, "--mode=root", f"--include={','.join(packages)}", SUITE, str(made))
                made.rename(root)
    return root


@contextlib.contextmanager
def with_package(package: Path) -> Iterator[Path]:
    """A Debian in which the package and the lab's own programs are installed; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="xfrmd-root-", ignore_cleanup_errors=True) as directory:
        root = copied(debian(), Path(directory) / "root")
        shutil.copy(package, root / "package.deb")
        _run("chroot", str(root), "dpkg", "--install", "/package.deb")
        (root / "package.deb").unlink()
        _furnish(root)
        yield root


@contextlib.contextmanager
def initramfs(package: Path, furnish: Callable[[Path], None]) -> Iterator[Path]:
    """What mkinitramfs(8) of a Debian puts into an image, unpacked, with the files of a package and what `furnish` adds
    in its root.
    """
    with tempfile.TemporaryDirectory(prefix="xfrmd-initramfs-", ignore_cleanup_errors=True) as directory:
        root = copied(debian(INITRAMFS), Path(directory) / "root")
        unpack = 'dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"'
        _run("sh", "-c", unpack, str(package), str(root))
        furnish(root)
        kernel = "6.1.0-lab"
        (root / "lib/modules" / kernel).mkdir(parents=True)
        (root / f"boot/config-{kernel}").write_text("CONFIG_RD_GZIP=y\n")  # it asks what the kernel could unpack
        made = f"depmod {kernel} && mkinitramfs -c gzip -o /image {kernel} && mkdir /made && cd /made"
        _run("chroot", str(root), "sh", "-c", f"{made} && zcat /image | cpio --quiet -idm")
        yield root / "made"


def copied(root: Path, to: Path, *options: str) -> Path:
    """A copy of a directory, with these options of cp(1); its path."""
    _run("cp", "--archive", "--reflink=auto", *options, str(root), str(to))
    return to


def _furnish(root: Path) -> None:
    lab, units = root / "lab", root / "etc/systemd/system"
    (lab / "share").mkdir(parents=True)
    for file in filter(Path.is_file, INSIDE.iterdir()):  # bytecode may lie beside them
        shutil.copy(file, units if file.suffix == ".service" else lab)
    for unit in units.glob("lab-*.service"):
        wanted = unit.read_text().partition("WantedBy=")[2].strip()
        wants = units / f"{wanted}.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit.name).symlink_to(f"../{unit.name}")
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("guest\n")


def _run(*command: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
