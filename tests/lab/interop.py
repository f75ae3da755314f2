# SPDX-License-Identifier: GPL-2.0-or-later
"""The configurations of docs/interop.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "interop.md").read_text()
BLOCKS: dict[str, str] = dict(re.findall(r"^```\w+ (\S+/\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
"""By case and file name, such as psk/policy.yaml."""
CASES = tuple(dict.fromkeys(name.split("/")[0] for name in BLOCKS))
SECRET = "put your own secret here"


def block(case: str, name: str, version: int = 4) -> str:
    """A file of a case; with IPv6 addresses in the place of the two hosts' IPv4 ones."""
    text = BLOCKS[f"{case}/{name}"]
    return text if version == 4 else text.replace("10.1.0.", "fd01::")


def columns(first: str) -> list[tuple[str, ...]]:
    """The rows of the table whose first column is headed so, without their quotes."""
    _, _, rest = TEXT.partition(f"| {first} |")
    rows = [line for line in rest.split("\n\n")[0].splitlines() if line.startswith("| `")]
    return [tuple(cell.strip(" `") for cell in row.strip("|").split("|")) for row in rows]
