# SPDX-License-Identifier: GPL-2.0-or-later
"""lab/run from outside: output, exit status, signals, time, and that nothing stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from lab.kernel import NAMED, is_ready, planned
from lab.probe import host_lacks

ROOT = Path(__file__).parents[2]
RUN = str(ROOT / "lab/run")

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]


@pytest.fixture(params=["host", "uml"])
def kernel(request: pytest.FixtureRequest) -> str:
    if request.param == "host" and (lack := host_lacks()):
        pytest.skip(f"this host's own kernel cannot serve: {lack}")
    if request.param == "uml" and not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    return str(request.param)


def lab(kernel: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = [RUN, "--kernel", kernel, *options, "--", *command]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT / "docs")


def test_output_status_directory_and_environment_pass(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFRMD_PASSED", "a 'quoted' value")
    for name in ("NOT_PASSED", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "1")
    script = 'echo "$XFRMD_PASSED"; echo "${NOT_PASSED:-unset} ${PYTHONDONTWRITEBYTECODE:-unset}"; pwd; id -u;'
    script += ' echo "$XFRMD_LAB"; exit 7'
    done = lab(kernel, "sh", "-c", script)
    assert done.stdout.splitlines() == ["a 'quoted' value", "unset unset", str(ROOT / "docs"), "0", kernel]
    assert done.returncode == 7


def test_the_ground_is_firm(kernel: str) -> None:
    script = (
        "set -e; test $(ls /run/netns | wc -l) = 0; : >/dev/shm/x; ls /proc/self/fd /dev/fd/ >/dev/null; mktemp;"
        "hostname; cat /sys/class/net/lo/ifindex; ping -q -c 1 127.0.0.1 >/dev/null; ping -q -c 1 ::1 >/dev/null;"
        "mkdir /sys/fs/cgroup/lab-test; rmdir /sys/fs/cgroup/lab-test; ip netns add a; ip -n a link; ip netns del a"
    )
    done = lab(kernel, "sh", "-c", script)
    assert done.returncode == 0, done
    assert done.stdout.splitlines()[1:3] == ["xfrmd-lab", "1"]


@pytest.mark.parametrize(("script", "status"), [("kill -SEGV $$", 139), ("exec no-such-program", 127)])
def test_other_endings(kernel: str, script: str, status: int) -> None:
    assert lab(kernel, "sh", "-c", script).returncode == status


def test_much_output_arrives_whole(kernel: str) -> None:
    done = lab(kernel, "seq", "200000")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 200001))


def leftovers(token: str) -> list[str]:
    """Processes that inherited the token."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if token.encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_timeout_ends_everything(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = uuid.uuid4().hex
    monkeypatch.setenv("XFRMD_TOKEN", token)
    # A daemon that left its session and ignores signals.
    script = "setsid nohup sh -c 'trap \"\" TERM; sleep 3000' >/dev/null 2>&1 & echo begun; sleep 3000"
    done = lab(kernel, "sh", "-c", script, options=("--timeout", "6"))
    assert (done.returncode, done.stdout) == (124, "begun\n")
    assert leftovers(token) == []


def test_a_kernel_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    token = uuid.uuid4().hex
    monkeypatch.setenv("XFRMD_TOKEN", token)
    # Nothing else gets its only processor again.
    script = "echo begun; echo -1 >/proc/sys/kernel/sched_rt_runtime_us; exec chrt -f 99 sh -c 'while :; do :; done'"
    done = lab("uml", "sh", "-c", script, options=("--pulse", "12"))
    assert (done.returncode, done.stdout) == (123, "begun\n")
    assert "no sign of life" in done.stderr
    assert leftovers(token) == []


def test_a_kernel_that_lives_is_not_ended_though_its_command_says_nothing() -> None:
    if not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    assert lab("uml", "sleep", "15", options=("--pulse", "12")).returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_output_is_live_and_a_signal_ends_everything(
    kernel: str, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = uuid.uuid4().hex
    monkeypatch.setenv("XFRMD_TOKEN", token)
    line = [RUN, "--kernel", kernel, "--", "sh", "-c", "echo begun; sleep 3000"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "begun\n"
        assert leftovers(token)
        runner.send_signal(signum)
        assert runner.wait(20) == (-signum if signum == signal.SIGKILL else 128 + signum)
    if signum == signal.SIGKILL:
        await_none_left(token)
    assert leftovers(token) == []


@pytest.fixture
def readable() -> Iterator[Path]:
    """The lab's kernel where any user can read it: built by root it lies in a home that nobody else may look into."""
    if not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(shutil.copy(os.environ.get(NAMED) or planned().kernel, name))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_user_without_root_has_a_lab_too(
    signum: signal.Signals, readable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    if subprocess.run(["test", "-x", RUN], check=False, **nobody).returncode != 0:
        pytest.skip("this checkout cannot be read by another user")
    token = uuid.uuid4().hex
    monkeypatch.setenv("XFRMD_TOKEN", token)
    monkeypatch.setenv(NAMED, str(readable))
    line = [RUN, "--", "sh", "-c", "id -u; ip netns add a; nft add table inet a && echo made; sleep 3000"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **nobody) as runner:
        assert runner.stdout is not None
        assert [runner.stdout.readline() for _ in range(2)] == ["0\n", "made\n"]
        runner.send_signal(signum)
        runner.wait(20)
    await_none_left(token)


def await_none_left(token: str) -> None:
    """After SIGKILL the rest is ended by others, and nobody waits for it."""
    deadline = time.monotonic() + 10
    while leftovers(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers(token) == []


def test_an_hour_passes_in_seconds() -> None:
    if not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    began = time.monotonic()
    done = lab("uml", "sh", "-c", "date +%s; sleep 3600; date +%s", options=("--time-travel",))
    before, after = map(int, done.stdout.split())
    assert 3600 <= after - before < 3700
    assert abs(before - time.time()) < 300  # the guest's clock starts at the host's
    assert time.monotonic() - began < 30


def test_a_kernel_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = lab(str(tmp_path / "none"), "true")
    assert done.returncode == 125
    assert "no kernel at" in done.stderr
