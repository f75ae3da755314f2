# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of docs/policy-reference.md, from the field tables; its prose is written by hand."""

from __future__ import annotations

import re
from typing import Final

from xfrmd.policy.records import Field, Record
from xfrmd.policy.tables import RECORDS

_TABLE: Final = re.compile(r"(<!-- keys of (?:a|an) ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Field) -> str:
    if field.required:
        return "**required**"
    return _cell(field.shown) or "none"


def _row(field: Field) -> str:
    netsh = f"`{field.netsh}`" if field.netsh else ""
    return f"| `{field.name}` | {_cell(field.kind.words)} | {_default(field)} | {_cell(field.help)} | {netsh} |"


def table(record: Record) -> str:
    """The keys of an object, as a table in Markdown."""
    head = "| key | value | default | meaning | netsh |\n|---|---|---|---|---|\n"
    return head + "\n".join(map(_row, record.fields)) + "\n"


def fill(text: str) -> str:
    """The reference with each table between its marks made anew."""
    by_title = {record.title: record for record in RECORDS}
    return _TABLE.sub(lambda match: f"{match[1]}\n{table(by_title[match[2]])}\n{match[3]}", text)
