# SPDX-License-Identifier: GPL-2.0-or-later
"""The page about netsh shows what is really printed."""

from __future__ import annotations

import re
from pathlib import Path

from xfrmd.netsh.importing import import_script

PAGE = Path(__file__).parents[2] / "docs" / "netsh.md"


def test_the_script_of_the_page_makes_the_policy_and_the_messages_of_the_page() -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    made = import_script(blocks["bat"], "servers.cmd")
    assert made.text == blocks["yaml"]
    assert "".join(f"{problem}\n" for problem in made.problems) == blocks["text"]
