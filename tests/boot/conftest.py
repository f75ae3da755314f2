# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that boot for real, with the package installed: one Debian for all tests, a copy of it for each host."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.booted import SECRET, Guest
from lab.debian import missing, with_package

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is below this folder where no guest can be made."""
    reason = "needs root: sudo make boot-tests" if os.geteuid() else missing() and f"needs mmdebstrap: {missing()}"
    for item in items:
        if reason and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True, slots=True)
class Installed:
    """A Debian with the package installed, the package, and its modules for the peer outside."""

    root: Path
    package: Path
    modules: Path


def build(*arguments: str) -> Path:
    """Make the package; its path."""
    command = [str(REPOSITORY / "packaging" / "build"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return REPOSITORY / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    package = build()
    unpacked = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    with with_package(package) as root:
        yield Installed(root, package, unpacked / "usr/lib/xfrmd/python")


MakeGuest = Callable[..., AbstractContextManager[Guest]]


@pytest.fixture
def guest(installed: Installed) -> MakeGuest:
    """`with guest(policy="...", peer_policy="...") as host`: made, not yet booted."""

    @contextlib.contextmanager
    def make(policy: str = "", peer_policy: str = "") -> Iterator[Guest]:
        with Guest(installed.root, installed.modules, peer_policy=peer_policy) as host:
            if policy:
                (host.root / "etc/xfrmd/policy.yaml").write_text(policy)
                (host.root / "etc/xfrmd/secrets/peer").write_text(SECRET)
            yield host

    return make
