# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses that certificates and policies name: what is taken, and what could mean something else to somebody."""

from __future__ import annotations

import pytest

from xfrmd.credentials.locations import Location, Place, location_of, place_of

GOOD = {
    "http://crl.example": Location(Place("crl.example", 80), "/"),
    "HTTP://CRL.Example./ca.crl": Location(Place("crl.example", 80), "/ca.crl"),
    "http://crl.example:8080/a%20b?c=d": Location(Place("crl.example", 8080), "/a%20b?c=d"),
    "http://crl.example?x": Location(Place("crl.example", 80), "/?x"),
    "http://192.0.2.1/": Location(Place("192.0.2.1", 80), "/"),
    "http://[2001:DB8::1]:81/": Location(Place("2001:db8::1", 81), "/"),
}


@pytest.mark.parametrize("url", GOOD)
def test_addresses(url: str) -> None:
    assert location_of(url) == GOOD[url]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://crl.example/",
        "https://crl.example/",
        "ldap://crl.example/",
        "file:///etc/passwd",
        "http:///x",
        "http://",
        "http://user@crl.example/",
        "http://crl.example@evil.example/",
        "http://crl.example\\@evil.example/",
        "http://crl.example#@evil.example/",
        "http://crl.example/#x",
        "http://crl.example/a b",
        "http://crl.example/\r\nHost: x",
        "http://crl.example/\u00e9",
        "http://cr\u0131.example/",
        "http://crl.example:0/",
        "http://crl.example:65536/",
        "http://crl.example:/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://1.2.3.256/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://-x.example/",
        "http://a..b/",
        "http://" + "a" * 64 + ".example/",
        "http://crl.example/" + "a" * 600,
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        location_of(url)


def test_hosts() -> None:
    assert place_of("CRL.example") == Place("crl.example", 80)
    assert place_of("[::1]:8080") == Place("::1", 8080)
    assert [str(place_of(one)) for one in ("a.b:80", "a.b:81", "[::1]")] == ["a.b", "a.b:81", "[::1]"]
    for bad in ("", "http://a.b", "a.b/", "a b", "a.b:x", "1.2.3"):
        with pytest.raises(ValueError, match=r"."):
            place_of(bad)
