# SPDX-License-Identifier: GPL-2.0-or-later
"""lab.suite: files in labs of their own, told one by one; a lab that hangs is ended and its file run once more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import suite
from lab.kernel import is_ready
from lab.probe import host_lacks
from lab.session import HUNG

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]

PASSES = "def test_one():\n    assert True\n"
FAILS = "def test_one():\n    assert 'the reason' == ''\n"


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    if host_lacks() and not is_ready():
        pytest.skip("no user-mode Linux built yet: 'lab/run --kernel uml -- true' builds it")
    return tmp_path


def test_each_file_has_its_line_and_a_failure_its_reason(tests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tests / "test_good.py").write_text(PASSES + PASSES.replace("one", "two"))
    (tests / "test_bad.py").write_text(FAILS)
    assert suite.main([str(tests)]) == 1
    said = capsys.readouterr().out
    assert "test_good.py: 2 passed in" in said
    assert "the reason" in said
    assert f"FAILED {tests / 'test_bad.py'}" in said
    assert "labs: 2 passed, 1 failed" in said or "labs: 1 failed, 2 passed" in said


def test_all_passed_is_status_0_and_nothing_run_is_not(tests: Path) -> None:
    assert suite.main([str(tests)]) == 1
    (tests / "test_good.py").write_text(PASSES)
    assert suite.main([str(tests)]) == 0


def test_long_work_is_followed_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goes_on = tmp_path / "fifo"
    os.mkfifo(goes_on)
    said = f"printf 'day 1\\nday 2\\nda'; : <{goes_on}; printf 'y 3\\n'"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(suite.run, ["sh", "-c", said], tmp_path / "test_year.py", 60, follow=True)
        shown, end = "", time.monotonic() + 30
        while shown != "test_year: day 1\ntest_year: day 2\n":
            assert time.monotonic() < end, shown
            shown += capsys.readouterr().out
        with goes_on.open("w"):
            pass
        assert running.result().output == "day 1\nday 2\nday 3\n"
    assert capsys.readouterr().out == "test_year: day 3\n"


def test_the_longest_begin_first(tmp_path: Path) -> None:
    lab_tests = suite.ROOT / "tests/lab"
    assert [file.name for file in suite.files([lab_tests])][: len(suite.LONGEST)] == list(suite.LONGEST)
    for name, size in (("test_small.py", 1), ("test_large.py", 2), (suite.LONGEST[-1], 0), (suite.LONGEST[0], 0)):
        (tmp_path / name).write_text("#" * size)
    in_order = [suite.LONGEST[0], suite.LONGEST[-1], "test_large.py", "test_small.py"]
    assert [file.name for file in suite.files([tmp_path])] == in_order


def test_a_lab_that_hangs_is_run_once_more(tests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file hangs the first time, as a whole kernel would, and passes the second."""
    mark = tests / "been-here"
    (tests / "test_hangs.py").write_text(
        "import pathlib, time\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "def test_one():\n"
        "    if not mark.exists():\n"
        "        mark.touch()\n"
        "        time.sleep(600)\n"
    )
    assert suite.main(["--silence", "15", str(tests)]) == 0
    said = capsys.readouterr().out
    assert "FELL SILENT, its kernel hangs" in said
    assert "test_hangs.py: 1 passed" in said


def test_a_lab_whose_kernel_was_found_to_hang_has_no_status(tmp_path: Path) -> None:
    ended = ["sh", "-c", f"exit {HUNG}"]
    assert suite.run(ended, tmp_path, silence=60).status is None


def test_a_lab_that_hangs_twice_fails(tests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tests / "test_hangs.py").write_text("import time\ndef test_one():\n    time.sleep(600)\n")
    assert suite.main(["--silence", "8", str(tests)]) == 1
    assert "its lab fell silent twice" in capsys.readouterr().out


def test_labs_end_with_their_suite(tests: Path) -> None:
    begun = tests / "begun"
    (tests / "test_long.py").write_text(
        f"import pathlib, time\ndef test_one():\n    pathlib.Path({str(begun)!r}).touch()\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-m", "lab.suite", str(tests)], cwd=suite.ROOT) as running:
        while not begun.exists():
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        running.wait(30)
    # The lab's own directory goes when lab/run has ended all that was inside.
    deadline = 100
    while deadline and any(str(tests) in line for line in _command_lines()):
        deadline -= 1
        subprocess.run(["sleep", "0.1"], check=True)
    assert deadline


def _command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
