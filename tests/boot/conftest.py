# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that boot for real, with the package installed: one Debian for all tests, a copy of it for each host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from lab.booted import SECRET, Guest
from lab.debian import missing, with_package
from tests.boot.scene import PEER_POLICY, POLICY, Row, judged, until
from tools.faults import keep

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


def assign(host: Guest, policy: str) -> None:
    """Write the policy, and the secret that it names, as an administrator does."""
    (host.root / "etc/xfrmd/policy.yaml").write_text(policy)
    (host.root / "etc/xfrmd/secrets/peer").write_text(SECRET)


@pytest.fixture
def fresh(installed: Installed) -> Iterator[Guest]:
    """A host with the package, which never had a policy; not yet booted. The peer outside wants protection."""
    with Guest(installed.root, installed.modules, peer_policy=PEER_POLICY) as host:
        yield host


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a host that was shut down: its root, and the disk of its state directory."""

    root: Path
    disk: Path


@pytest.fixture(scope="session")
def had_policy(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """Of a host that was booted with POLICY in force."""
    with Guest(installed.root, installed.modules) as host:
        assign(host, POLICY)
        host.boot()
        host.settled()
        until(lambda: "stateful" in host.run("head -1 /var/lib/xfrmd/boot.nft").out, "a saved boot filter")
        host.poweroff()
        kept = tmp_path_factory.mktemp("had-policy")
        return Remains(host.root.rename(kept / "root"), host.disk.rename(kept / "disk"))


@pytest.fixture
def newer(installed: Installed, tmp_path: Path) -> Path:
    """The package with a higher version, and the same code: what comes of state that another version has left is shown
    by tests/unit/test_state_file alone.
    """
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", installed.package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 9"))
    package = tmp_path / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, package], check=True, stdout=subprocess.DEVNULL
    )
    return package


@pytest.fixture
def guest(installed: Installed, had_policy: Remains) -> Iterator[Guest]:
    """A host whose last life had POLICY in force; not yet booted. The peer outside wants protection."""
    with Guest(had_policy.root, installed.modules, disk=had_policy.disk, peer_policy=PEER_POLICY) as host:
        yield host


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Callable[..., Row]:
    """`outcome(fault, moment, host, since, end, why)` judges a time of a host's life; its row is in the run's last
    table, and in docs/faults.md. `why`: the stated reason for what passed or was lost.
    """

    def judge(fault: str, moment: str, host: Guest, since: float, end: float, why: str = "") -> Row:
        row = judged(fault, moment, host, since, end, why)
        request.node.user_properties.append(("row", asdict(row)))
        return row

    return judge


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table fault x moment x packets in the clear x packets lost; what passed is kept for `make faults`."""
    ended = [
        report
        for how in ("passed", "failed")
        for report in terminalreporter.stats.get(how, [])
        if report.when == "call"
    ]
    rows = [(report, Row(**made)) for report in ended for name, made in report.user_properties if name == "row"]
    if rows:
        terminalreporter.section("what the policy forbids, in the clear; what it permits, lost")
        for line in (Row.HEAD, *(str(row) for _, row in rows)):
            terminalreporter.line(line)
    for report, row in rows:
        if report.passed and not hasattr(terminalreporter.config, "workerinput"):  # of many processes the one that told
            keep("boot", Path(report.nodeid.partition("::")[0]).stem, row)
