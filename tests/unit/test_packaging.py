# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, and where: wheel, unit, README and Vagrant host agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["shared-data"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "man").iterdir()), ids=lambda page: page.name)
def test_manual_pages_are_installed_where_man_looks(page: Path) -> None:
    section = page.suffix.removeprefix(".")
    assert DATA[str(page.relative_to(ROOT))] == f"share/man/man{section}/{page.name}"


def test_what_is_installed_is_there() -> None:
    assert {"units", "config"} <= DATA.keys()
    assert all((ROOT / source).exists() for source in DATA)


@pytest.mark.parametrize("guide", ["README.md", "lab/vagrant-provision"])
def test_the_unit_starts_the_program_where_the_guide_puts_it(guide: str) -> None:
    started = re.search(r"^ExecStart=(\S+)", (ROOT / "units" / "xfrmd.service").read_text(), re.MULTILINE)
    assert started is not None
    link = re.search(r"^ln -sf? (/opt/xfrmd/bin/xfrmd .*)$", (ROOT / guide).read_text(), re.MULTILINE)
    assert link is not None
    *_, target = link[1].split()
    assert target in (started[1], str(Path(started[1]).parent) + "/")
