# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON Schema of policy files, for editors, from the field tables. What it cannot say, the loader checks."""

from __future__ import annotations

import json

from xfrmd.policy.kinds import Schema
from xfrmd.policy.tables import DOCUMENT, RECORDS
from xfrmd.policy.variables import REFERENCE


def json_schema() -> Schema:
    """The schema as a JSON value (draft 2020-12)."""
    definitions = {record.title.replace(" ", "-"): record.definition for record in RECORDS if record is not DOCUMENT}
    definitions["variable"] = REFERENCE
    head: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "xfrmd policy"}
    return head | DOCUMENT.definition | {"$defs": definitions}


def schema_text() -> str:
    """The schema as it stands in config/xfrmd-policy.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
