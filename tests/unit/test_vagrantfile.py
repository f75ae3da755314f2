# SPDX-License-Identifier: GPL-2.0-or-later
"""The Vagrantfile is valid (Debian package: vagrant)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def vagrant() -> str:
    program = shutil.which("vagrant")
    if program is None:
        pytest.skip("vagrant is not installed (Debian package: vagrant)")
    return program


def validate(vagrant: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"VAGRANT_HOME": str(home), "VAGRANT_CHECKPOINT_DISABLE": "1"}
    return subprocess.run(
        [vagrant, "validate", "--ignore-provider"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_vagrantfile_is_valid(vagrant: str, tmp_path: Path) -> None:
    done = validate(vagrant, ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_validation_sees_a_mistake(vagrant: str, tmp_path: Path) -> None:
    text = (ROOT / "Vagrantfile").read_text().replace("host.vm.hostname", "host.vm.hostnane")
    (tmp_path / "Vagrantfile").write_text(text)
    assert validate(vagrant, tmp_path, tmp_path / "home").returncode != 0
