# SPDX-License-Identifier: GPL-2.0-or-later
"""The one sysctl that matters here: whether the kernel keeps a packet for which an SA is still negotiated."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LARVAL_DROP: Final = Path("/proc/sys/net/core/xfrm_larval_drop")
_KEEPS: Final = "0"


def keep_first_packets(file: Path = LARVAL_DROP) -> str:
    """Let the kernel keep them (docs/decisions/0003); "" when it does, else what is wrong and what to do about it.

    A sandboxed service may not write it. Then the first packets of a flow are lost, but never sent in the clear.
    """
    try:
        if file.read_text(encoding="ascii").strip() == _KEEPS:
            return ""
        file.write_text(_KEEPS, encoding="ascii")
    except FileNotFoundError:
        return "the kernel has no XFRM (no net.core.xfrm_larval_drop)"
    except OSError as error:
        why = f"net.core.xfrm_larval_drop is 1 and cannot be set ({error.strerror})"
        return f"{why}: packets that start a negotiation are lost; run sysctl -w net.core.xfrm_larval_drop=0"
    return ""
