# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies and peer configurations that the end-to-end tests share, and waiting for what SAs become."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lab.xfrmd_host import XfrmdHost

SECRET = "a secret that two hosts of the lab share"
MM = "AES128GCM-SHA256-X25519"
QM = "ESP[AES128-GCM]"


def policy(
    filters: str = "{srcaddr: me, dstaddr: any}",
    *,
    mm: str = MM,
    qm: str = QM,
    action: str = "action: negotiate",
    more_rules: str = "",
    more_lists: str = "",
) -> str:
    """A policy that negotiates for one filter; `{psk}` is left for the fixture that writes the secret's file."""
    return f"""\
version: 1
filterlists:
  - name: protected
    filters:
      - {filters}
{more_lists}
filteractions:
  - name: require
    {action}
    qmsecmethods: ["{qm}"]
  - name: block
    action: block
  - name: permit
    action: permit
policies:
  - name: lab
    assign: yes
    mmsecmethods: ["{mm}"]
    rules:
      - name: protect
        filterlist: protected
        filteraction: require
        psk: {{file: "{{psk}}"}}
{more_rules}
"""


NOTHING = policy().replace("assign: yes", "assign: no")
"""The same policy, not assigned: nothing is filtered."""


def charon(
    here: str,
    there: str,
    *,
    ike: str = "aes128gcm16-prfsha256-x25519",
    esp: str = "aes128gcm16",
    ah: str = "",
    secret: str = SECRET,
    ts: str = "",
    child: str = "",
    nets: tuple[str, str] | None = None,
) -> str:
    """A swanctl.conf for transport mode with a PSK between two addresses. `ts` as in "[tcp/445]" narrows both ends.

    `ah`: proposals of AH, instead of ESP.

    `nets`: tunnel mode, between a network here and one there.
    """
    local, remote = nets or (f"dynamic{ts}",) * 2
    return f"""\
connections {{
  peer {{
    version = 2
    local_addrs = {here}
    remote_addrs = {there}
    proposals = {ike}
    local {{
      auth = psk
      id = {here}
    }}
    remote {{
      auth = psk
      id = {there}
    }}
    children {{
      all {{
        mode = {"transport" if nets is None else "tunnel"}
        {f"ah_proposals = {ah}" if ah else f"esp_proposals = {esp}"}
        local_ts = {local}
        remote_ts = {remote}
        {child}
      }}
    }}
  }}
}}
secrets {{
  ike {{
    secret = "{secret}"
  }}
}}
"""


def sas(daemon: XfrmdHost) -> dict[str, Any]:
    """IKE SAs and child SAs of a daemon."""
    return daemon.ask("sas")


def child_spis(daemon: XfrmdHost) -> set[str]:
    """Our inbound SPIs of all child SAs."""
    return {child["spi_in"] for child in sas(daemon)["child_sas"]}


def ike_spis(daemon: XfrmdHost) -> set[str]:
    """Our SPIs of all IKE SAs."""
    return {ike["spi_local"] for ike in sas(daemon)["ike_sas"]}


def wait_until(wanted: Callable[[], bool], story: str, timeout: float = 20.0) -> None:
    """Return once `wanted` holds; AssertionError with the story after `timeout` seconds.

    The control socket answers questions and sends no events, so this asks again after a while.
    """
    deadline = time.monotonic() + timeout
    while not wanted():
        assert time.monotonic() < deadline, f"not within {timeout} s: {story}"
        time.sleep(0.1)
