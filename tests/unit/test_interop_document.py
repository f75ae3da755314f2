# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/interop.md: its policies compile, its files for libreswan are taken by libreswan's parser, its words are real.

That the configurations work is shown by tests/lab/test_interop.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import libreswan
from tests.lab import interop
from tests.unit import pki
from xfrmd.model.secret import SecretRef
from xfrmd.policy import load

IPSEC_CONFS = sorted(name for name in interop.BLOCKS if name.endswith("/ipsec.conf"))


def stored(ref: SecretRef) -> bytes:
    """What the files hold that the policies name."""
    authority = pki.root("Root")
    host = pki.issue("a", by=authority, san=["a.example"])
    found = {"ca.pem": authority.pem, "host.pem": host.pem, "host.key": host.key_pem}
    return found.get(Path(ref.name).name, interop.SECRET.encode())


@pytest.mark.parametrize("case", interop.CASES)
@pytest.mark.parametrize("version", [4, 6])
def test_policies_are_read_without_a_warning(case: str, version: int) -> None:
    assert load(interop.block(case, "policy.yaml", version), "policy.yaml", stored).warnings == ()


def test_each_case_has_all_its_files() -> None:
    assert {"psk", "certificates", "tunnel", "subnets"} <= set(interop.CASES)
    for case in interop.CASES:
        files = {name.split("/")[1] for name in interop.BLOCKS if name.startswith(f"{case}/")}
        assert {"policy.yaml", "swanctl.conf", "ipsec.conf"} <= files
        assert ("ipsec.secrets" in files) == ("authby=secret" in interop.block(case, "ipsec.conf"))


@pytest.mark.skipif(bool(libreswan.missing()), reason=libreswan.missing() or "libreswan")
@pytest.mark.parametrize("name", IPSEC_CONFS)
def test_libreswan_reads_its_files(name: str, tmp_path: Path) -> None:
    conf = tmp_path / "ipsec.conf"
    conf.write_text(interop.BLOCKS[name])
    assert libreswan.judge(conf) == ""
    conf.write_text(interop.BLOCKS[name].replace("type=t", "type=x"))
    assert "keyword type, invalid value" in libreswan.judge(conf)


@pytest.mark.skipif(bool(libreswan.missing()), reason=libreswan.missing() or "libreswan")
@pytest.mark.parametrize(("first", "key"), [("mmsecmethods", "ike"), ("qmsecmethods", "esp")])
def test_libreswan_knows_the_words_of_the_tables(first: str, key: str, tmp_path: Path) -> None:
    conf, used = tmp_path / "ipsec.conf", {"ike": "aes_gcm128-sha2_256;dh31", "esp": "aes_gcm128"}[key]
    rows = interop.columns(first)
    assert len(rows) >= 5
    for row in rows:
        # "`phase2=ah`, ... instead": lines in the place of the one that the configuration has.
        lines = re.findall(r"\w+=\w+", row[2]) if row[2].endswith(" instead") else [f"{key}={row[2]}"]
        text = interop.BLOCKS["psk/ipsec.conf"].replace(f"{key}={used}", "\n    ".join(lines))
        assert all(line in text for line in lines)
        conf.write_text(text)
        assert libreswan.judge(conf) == "", row


def test_the_policy_knows_the_words_of_the_tables() -> None:
    text = interop.BLOCKS["psk/policy.yaml"]
    assert "AES128GCM-SHA256-X25519" in text
    assert "ESP[AES128-GCM]" in text
    for mm, *_ in interop.columns("mmsecmethods"):
        changed = load(text.replace("AES128GCM-SHA256-X25519", mm), "policy.yaml", stored)
        assert changed.policies[0].mmsecmethods, mm
    for qm, *_ in interop.columns("qmsecmethods"):
        changed = load(text.replace("ESP[AES128-GCM]", qm), "policy.yaml", stored)
        assert changed.policies[0].rules[0].filter_action.qmsecmethods, qm
