# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, and where: wheel, Debian package and units agree."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from xfrmd import limits

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
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


def test_the_package_bundles_what_the_project_depends_on() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pins = re.findall(
        r"^([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}$", (PACKAGING / "requirements.txt").read_text(), re.MULTILINE
    )
    assert {re.split("[<>=]", name)[0].lower() for name in needed} <= {name.lower() for name, _ in pins}


def test_the_package_bundles_what_the_tests_run_with() -> None:
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (PACKAGING / "requirements.txt").read_text(), re.MULTILINE):
        assert importlib.metadata.version(name) == version


def test_every_unit_and_what_it_runs_is_in_the_package() -> None:
    build = (PACKAGING / "build").read_text()
    put = [word for line in re.findall(r"^put \d+ (.*)$", build, re.MULTILINE) for word in line.split()[:-1]]
    files = {f"units/{path.name}" for path in (ROOT / "units").iterdir()}
    assert {name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in put)} == set()


def test_purging_knows_every_unit() -> None:
    purged = (PACKAGING / "debian" / "postrm").read_text()
    assert all(path.name in purged for path in (ROOT / "units").glob("xfrmd*.*"))


def test_purging_takes_out_exactly_our_band_of_priorities() -> None:
    postrm = (PACKAGING / "debian" / "postrm").read_text()
    bounds = re.search(r'value\["priority"\] >= (\d+) && value\["priority"\] <= (\d+)', postrm)
    assert bounds is not None
    assert [int(bound) for bound in bounds.groups()] == [limits.PRIORITY_FIRST, limits.PRIORITY_LAST]
