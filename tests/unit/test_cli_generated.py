# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are made of tables: in the tree, and in step."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xfrmd.cli.generate import PROGRAMS, files, main

ROOT = Path(__file__).parents[2]
FILES = files(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_in_step(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name], "run: python -m xfrmd.cli.generate"


def test_generating_writes_them_all(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "policy-reference.md").write_text((ROOT / "docs" / "policy-reference.md").read_text())
    main(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(FILES)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_manual_pages_name_every_command_and_format_without_a_warning(program: object) -> None:
    one = next(p for p in PROGRAMS if p is program)
    page = FILES[f"docs/man/{one.name}.{one.section}"]
    for command in one.rows():
        assert f'.SS "{one.name} {command.name}"' in page
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed, so the manual pages are not formatted")
    done = subprocess.run([groff, "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["xfrmctl", "xfrmd"])
def test_bash_takes_the_completion(name: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "config" / "completion" / f"{name}.bash")], check=True)
