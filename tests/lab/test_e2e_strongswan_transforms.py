# SPDX-License-Identifier: GPL-2.0-or-later
"""Every transform and every group once with strongSwan: one run of each daemon, an address of charon's for each row.

Each of charon's connections offers and takes one pair of proposals, our policy has all of them: what is agreed is that
pair, and both daemons and the ping say so. Of two rows that follow each other one is begun by us, the other by charon.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import topology
from lab.netns import ip_batch
from lab.packets import flow
from lab.strongswan import PLUGINS, PeerIkeSa, StrongSwan
from lab.xfrmd_host import xfrmd
from tests.lab import e2e
from xfrmd.transforms import encr, integ, ke, prf

Charon = Callable[..., AbstractContextManager[StrongSwan]]


class Row(NamedTuple):
    """Methods of ours and proposals of charon's; what charon calls the ciphers and the group."""

    mm: str
    qm: str
    ike: str
    esp: str
    ike_cipher: str
    esp_cipher: str
    group: str


# fmt: off
ROWS = (
    Row("AES128GCM-SHA256-X25519", "ESP[AES128-GCM]", "aes128gcm16-prfsha256-x25519", "aes128gcm16-noesn",
        "AES_GCM_16-128", "AES_GCM_16-128", "CURVE_25519"),
    Row("AES192GCM-SHA384-ECP384", "ESP[AES192-GCM]", "aes192gcm16-prfsha384-ecp384", "aes192gcm16-esn",
        "AES_GCM_16-192", "AES_GCM_16-192", "ECP_384"),
    Row("AES256GCM-SHA512-ECP256", "ESP[AES256-GCM]", "aes256gcm16-prfsha512-ecp256", "aes256gcm16-esn-noesn",
        "AES_GCM_16-256", "AES_GCM_16-256", "ECP_256"),
    Row("AES128-SHA256-DHGroup14", "ESP[AES128,SHA256]", "aes128-sha256-modp2048", "aes128-sha256-esn",
        "AES_CBC-128", "AES_CBC-128", "MODP_2048"),
    Row("AES192-SHA384-DHGroup15", "ESP[AES192,SHA384]", "aes192-sha384-modp3072", "aes192-sha384",
        "AES_CBC-192", "AES_CBC-192", "MODP_3072"),
    Row("AES256-SHA512-DHGroup16", "ESP[AES256,SHA512]", "aes256-sha512-modp4096", "aes256-sha512",
        "AES_CBC-256", "AES_CBC-256", "MODP_4096"),
    Row("CHACHA20POLY1305-SHA256-X448", "ESP[CHACHA20-POLY1305]", "chacha20poly1305-prfsha256-x448",
        "chacha20poly1305-esn", "CHACHA20_POLY1305", "CHACHA20_POLY1305", "CURVE_448"),
    Row("AES128CCM-SHA256-ECP521", "ESP[AES128-CCM]", "aes128ccm16-prfsha256-ecp521", "aes128ccm16",
        "AES_CCM_16-128", "AES_CCM_16-128", "ECP_521"),
    Row("AES192CCM-SHA256-BRAINPOOL256", "ESP[AES192-CCM]", "aes192ccm16-prfsha256-ecp256bp", "aes192ccm16",
        "AES_CCM_16-192", "AES_CCM_16-192", "ECP_256_BP"),
    Row("AES256CCM-SHA384-BRAINPOOL384", "ESP[AES256-CCM]", "aes256ccm16-prfsha384-ecp384bp", "aes256ccm16-esn",
        "AES_CCM_16-256", "AES_CCM_16-256", "ECP_384_BP"),
    Row("AES128CTR-SHA256-BRAINPOOL512", "ESP[AES128-CTR,SHA256]", "aes128ctr-sha256-ecp512bp", "aes128ctr-sha256",
        "AES_CTR-128", "AES_CTR-128", "ECP_512_BP"),
    Row("AES192CTR-SHA384-DHGroup17", "ESP[AES192-CTR,SHA384]", "aes192ctr-sha384-modp6144", "aes192ctr-sha384",
        "AES_CTR-192", "AES_CTR-192", "MODP_6144"),
    Row("AES256CTR-SHA512-DHGroup18", "ESP[AES256-CTR,SHA512]", "aes256ctr-sha512-modp8192", "aes256ctr-sha512-esn",
        "AES_CTR-256", "AES_CTR-256", "MODP_8192"),
    Row("AES256-SHA256-ECP384", "ESP[None,SHA256]", "aes256-sha256-ecp384", "null-sha256",
        "AES_CBC-256", "NULL", "ECP_384"),
    Row("3DES-SHA1-2", "ESP[3DES,SHA1]", "3des-sha1-modp1024", "3des-sha1", "3DES_CBC", "3DES_CBC", "MODP_1024"),
    Row("AES128-SHA1-5", "ESP[AES128,SHA1]", "aes128-sha1-modp1536", "aes128-sha1",
        "AES_CBC-128", "AES_CBC-128", "MODP_1536"),
)
# fmt: on


def test_every_transform_with_a_kernel_name_has_its_row() -> None:
    """Those of charon's proposals are looked at below; here that none of our tables has been forgotten."""
    text = " ".join(f"{row.mm} {row.qm}" for row in ROWS).replace("CHACHA20POLY1305", "CHACHA20-POLY1305")
    ciphers = {word.partition(",")[0].rstrip("]") for word in text.replace("ESP[", " ").split()}
    assert {row.name for row in encr.ROWS} <= ciphers | {"NULL"}
    assert all(row.name in text for row in (*integ.ROWS, *prf.ROWS))
    numbers = {f"DHGroup{row.id}": row.name for row in ke.ROWS} | {"2": "MODP1024", "5": "MODP1536"}
    groups = {row.mm.rpartition("-")[2] for row in ROWS}
    assert {numbers.get(group, group) for group in groups} == {row.name for row in ke.ROWS}


def charon_conf(here: list[str], there: str) -> str:
    """A connection for each row, each at an address of its own."""
    connections = "".join(
        e2e.charon(address, there, ike=row.ike, esp=row.esp)
        .partition("secrets {")[0]
        .removeprefix("connections {\n")
        .rstrip()
        .removesuffix("}")
        .replace("  peer {", f"  peer{number} {{")
        .replace("      all {", f"      child{number} {{")
        for number, (address, row) in enumerate(zip(here, ROWS, strict=True))
    )
    return f'connections {{\n{connections}}}\nsecrets {{\n  ike {{\n    secret = "{e2e.SECRET}"\n  }}\n}}\n'


@pytest.fixture
def addresses(two_hosts: topology.TwoHosts) -> list[str]:
    """One of charon's host for each row."""
    found = [f"10.1.0.{100 + number}" for number in range(len(ROWS))]
    ip_batch([f"addr add {one}/24 dev eth0" for one in found], two_hosts.right)
    return found


# rfc 7296: suites-configurable
def test_each_is_agreed_upon_and_carries_packets(
    two_hosts: topology.TwoHosts, strongswan: Charon, addresses: list[str]
) -> None:
    if "des3_ede" not in Path("/proc/crypto").read_text(encoding="ascii"):
        pytest.skip("this kernel has no des3_ede (CONFIG_CRYPTO_DES)")
    net = two_hosts
    methods = e2e.policy(mm='", "'.join(row.mm for row in ROWS), qm='", "'.join(row.qm for row in ROWS))
    text = "allow_weak: yes\n" + methods
    conf = charon_conf(addresses, net.left.v4)
    with (
        xfrmd(net.left, text, secret=e2e.SECRET) as ours,
        strongswan(net.right, conf, plugins=f"{PLUGINS} ctr ccm") as theirs,
    ):
        for number, address in enumerate(addresses):
            if number % 2:
                theirs.initiate(f"child{number}")
            net.left.run("ping", "-c", "1", "-W", "10", address)
        agreed = {sa.name: sa for sa in theirs.list_sas()}
        for number, row in enumerate(ROWS):
            assert_agreed(row, agreed[f"peer{number}"], initiator=number % 2 == 1)
        numbered = {child["remote"]: "ESN" in child["transforms"] for child in e2e.sas(ours)["child_sas"]}
        for address, row in zip(addresses, ROWS, strict=True):
            assert numbered[address] == ("-esn" in row.esp), row
        # Before charon ends: our answers to its last deletes may find its port closed, and its kernel says so by ICMP.
        net.capture.assert_protected(flow([net.left.v4], addresses, "icmp"))


def assert_agreed(row: Row, sa: PeerIkeSa, *, initiator: bool) -> None:
    """What charon says of it."""
    assert sa.initiator == initiator, row
    assert (sa.encryption, sa.key_exchange) == (row.ike_cipher, row.group), row
    (child,) = sa.children
    assert (child.state, child.encryption) == ("INSTALLED", row.esp_cipher), row
    assert child.packets_in > 0, row
