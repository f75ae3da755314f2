# SPDX-License-Identifier: GPL-2.0-or-later
"""Can this host's own kernel serve as a lab? Tried, not guessed: an ESP SA and an inet table in a fresh namespace."""

from __future__ import annotations

import os
import shutil
import subprocess

TOOLS = ("unshare", "setpriv", "ip", "mount")
ESP_SA = (
    "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 mode transport "
    "aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128"
)
INET_TABLE = "nft add table inet probe && nft add chain inet probe c '{ type filter hook output priority 0; }'"
SECPATH = "nft add rule inet probe c rt ipsec missing accept"
VETH = "ip link add p0 type veth peer name p1"


def host_lacks() -> str:
    """What the host's own kernel, or this user, lacks for a lab; empty when nothing."""
    for tool in TOOLS:
        if shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "root is needed to make namespaces"
    for what, script in (
        ("ESP", ESP_SA),
        ("nftables with ipsec matches", f"{INET_TABLE} && {SECPATH}"),
        ("veth", VETH),
    ):
        tried = subprocess.run(
            ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False
        )
        if tried.returncode != 0:
            reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"no {what} ({reason})"
    return ""
