# SPDX-License-Identifier: GPL-2.0-or-later
"""Text as a scalar of a policy file: plain where YAML takes it for nothing else, in quotation marks elsewhere."""

from __future__ import annotations

import json
import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./()+-]*(?: [A-Za-z0-9_./()+-]+)*", re.ASCII)
_WORDS: Final = frozenset({"yes", "no", "true", "false", "null", "on", "off", "y", "n"})
"""Words that are more than text to YAML's programs."""
_REFERENCE: Final = re.compile(r"\$\{")


def scalar(text: str) -> str:
    """The text as a scalar, in a block or between brackets; the policy language reads the same text again."""
    text = _REFERENCE.sub("$${", text)
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in json.dumps(text, ensure_ascii=False))


def _escaped(char: str) -> str:
    """A character that YAML does not allow, or takes for a line break."""
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
