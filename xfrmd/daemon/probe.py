# SPDX-License-Identifier: GPL-2.0-or-later
"""Can this kernel carry a policy at all? Tried before anything is changed: a start fails with one clear line."""

from __future__ import annotations

from typing import Final

from xfrmd import limits
from xfrmd.daemon.ports import SaDatabase
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import Lifetime, ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Mode
from xfrmd.transforms import catalog

PROBE_SPI: Final = 0x100
"""The lowest SPI that is not reserved (RFC 4303 2.1); our own SPIs are random, and the loopback has no SAs."""


def _probe_sa(address: Address, key: bytes) -> SadEntry:
    host = Prefix.host(address)
    return SadEntry(
        protocol=ProtocolId.ESP,
        spi=PROBE_SPI,
        src=address,
        dst=address,
        selector=Selector(host, host),
        reqid=limits.REQID_LAST,
        inbound=True,
        mode=Mode.TRANSPORT,
        encryption=catalog.encryption("AES128-GCM"),
        encryption_key=Secret(key),
        integrity=None,
        integrity_key=Secret(b""),
        esn=False,
        replay_window=32,
        soft=Lifetime(0),
        hard=Lifetime(60),
    )


def esp_families(sas: SaDatabase, key: bytes) -> tuple[int, ...]:
    """IP versions for which the kernel has ESP with AES-GCM. `key`: 20 random octets.

    Raises KernelError when it has none, with the errno of IPv4.
    """
    found, refusals = [], []
    for version, text in ((4, "127.0.0.1"), (6, "::1")):
        address = Address.parse(text)
        sas.remove_sa(ProtocolId.ESP, PROBE_SPI, address)
        try:
            sas.add_sa(_probe_sa(address, key))
        except KernelError as error:
            refusals.append(error)
        else:
            sas.remove_sa(ProtocolId.ESP, PROBE_SPI, address)
            found.append(version)
    if not found:
        raise KernelError(f"the kernel takes no ESP SA: {refusals[0]}", refusals[0].errno)
    return tuple(found)
