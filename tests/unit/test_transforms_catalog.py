# SPDX-License-Identifier: GPL-2.0-or-later
"""Transforms by name and number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xfrmd.model.proposals import ADDITIONAL, Transform, TransformType
from xfrmd.transforms import catalog, encr, esn, integ, ke, prf


@pytest.mark.parametrize(
    ("find", "name", "right"),
    [
        (catalog.encryption, "AES128-GCM", Transform(1, 20, 128)),
        (catalog.encryption, "aes256gcm", Transform(1, 20, 256)),
        (catalog.encryption, "AES_192_GCM", Transform(1, 20, 192)),
        (catalog.encryption, "AES256", Transform(1, 12, 256)),
        (catalog.encryption, "ChaCha20Poly1305", Transform(1, 28, 0)),
        (catalog.integrity, "sha-256", Transform(3, 12)),
        (catalog.prf, "SHA384", Transform(2, 6)),
        (catalog.key_exchange, "x25519", Transform(4, 31)),
        (catalog.key_exchange, "Curve25519", Transform(4, 31)),
        (catalog.key_exchange, "DHGroup14", Transform(4, 14)),
        (catalog.key_exchange, "dhgroup20", Transform(4, 20)),
        (catalog.key_exchange, "ECDHP256", Transform(4, 19)),
        (catalog.key_exchange, "3", Transform(4, 14)),
        (catalog.key_exchange, "2", Transform(4, 2)),
        (catalog.key_exchange, "High", Transform(4, 14)),
        (catalog.encryption, "3DES", Transform(1, 3)),
        (catalog.integrity, "HMAC-SHA1", Transform(3, 2)),
        (catalog.prf, "SHA", Transform(2, 2)),
    ],
)
def test_names(find: Callable[[str], Transform], name: str, right: Transform) -> None:
    assert find(name) == right


@pytest.mark.parametrize(
    ("find", "name", "known"),
    [
        (catalog.encryption, "DES", "AES128-GCM"),
        (catalog.encryption, "", "AES256"),
        (catalog.encryption, "SHA256", "CHACHA20-POLY1305"),
        (catalog.integrity, "MD5", "SHA512"),
        (catalog.prf, "MD5", "SHA256"),
        (catalog.key_exchange, "DHGroup1", "MODP2048"),
        (catalog.key_exchange, "14", "X25519"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(find: Callable[[str], Transform], name: str, known: str) -> None:
    with pytest.raises(ValueError, match=known):
        find(name)


@pytest.mark.parametrize("find", [catalog.encryption, catalog.integrity, catalog.prf, catalog.key_exchange])
def test_weak_algorithms_are_no_suggestion(find: Callable[[str], Transform]) -> None:
    with pytest.raises(ValueError, match="known are") as caught:
        find("nothing")
    assert not set(str(caught.value).partition("known are ")[2].split(", ")) & {"3DES", "SHA1", "MODP1024", "MODP1536"}


def test_weak_are_those_of_windows_server_2003() -> None:
    tables = (encr.ROWS, prf.ROWS, integ.ROWS, ke.ROWS)
    weak = [row.name for rows in tables for row in rows if catalog.is_weak(row.transform)]
    assert sorted(weak) == ["3DES", "MODP1024", "MODP1536", "SHA1", "SHA1"]


def test_every_row_is_found_by_its_number_and_named_after_its_row() -> None:
    for rows, lookup in (
        (encr.ROWS, catalog.encr_row),
        (prf.ROWS, catalog.prf_row),
        (integ.ROWS, catalog.integ_row),
        (ke.ROWS, catalog.ke_row),
        (esn.ROWS, catalog.esn_row),
    ):
        for row in rows:
            assert lookup(row.transform) is row
            assert catalog.name_of(row.transform) == row.name


@pytest.mark.parametrize("row", ke.KEMS, ids=lambda row: row.name)
def test_a_key_encapsulation_stands_only_beside_another(row: ke.KeRow) -> None:
    assert catalog.additional_key_exchange(row.name) == row.transform
    assert catalog.additional_key_exchange("x25519") == catalog.key_exchange("x25519")
    with pytest.raises(ValueError, match="known are"):
        catalog.key_exchange(row.name)
    for kind in ADDITIONAL:
        additional = Transform(kind, row.id)
        assert catalog.ke_row(additional) is row
        assert catalog.name_of(additional) == row.name


def test_no_two_rows_are_the_same_transform() -> None:
    transforms = [row.transform for rows in (encr.ROWS, prf.ROWS, integ.ROWS, ke.ROWS, esn.ROWS) for row in rows]
    assert len(set(transforms)) == len(transforms) == 40


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Transform(TransformType.ENCR, 99, 128), "ENCR 99/128"),
        (Transform(TransformType.KE, 1), "KE 1"),
        (Transform(241, 7), "TYPE 241 7"),
    ],
)
def test_unknown_numbers_have_a_name_for_people(transform: Transform, name: str) -> None:
    assert catalog.name_of(transform) == name


# rfc 7296: key-length
def test_key_length_attributes_must_fit() -> None:
    assert catalog.encr_row(Transform(1, 12, 0)) is None, "AES needs one"
    assert catalog.encr_row(Transform(1, 28, 256)) is None, "ChaCha20 must not have one (RFC 7634 4)"
    assert catalog.encr_row(Transform(3, 12, 128)) is None
    assert catalog.ke_row(Transform(4, 14, 2048)) is None
