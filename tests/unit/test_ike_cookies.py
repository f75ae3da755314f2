# SPDX-License-Identifier: GPL-2.0-or-later
"""Stateless cookies, RFC 7296 2.6."""

from __future__ import annotations

import random

import pytest

from xfrmd.ike.cookies import CookieJar
from xfrmd.ike.events import Endpoint
from xfrmd.limits import floods
from xfrmd.model.addresses import Address

PEER = Endpoint(Address.parse("192.0.2.7"), 500)
SPI = b"initiato"
LIFE = floods.COOKIE_LIFETIME


@pytest.fixture
def jar() -> CookieJar:
    return CookieJar(random.Random(1).randbytes)


# rfc 7296: cookie-stateless
def test_a_cookie_is_known_again_for_its_peer_and_spi_only(jar: CookieJar) -> None:
    cookie = jar.bake(PEER, SPI, 0.0)
    assert 1 <= len(cookie) <= 64
    assert jar.valid(cookie, PEER, SPI, 1.0)
    assert not jar.valid(cookie, Endpoint(Address.parse("192.0.2.8"), 500), SPI, 1.0)
    assert not jar.valid(cookie, Endpoint(PEER.address, 501), SPI, 1.0)
    assert not jar.valid(cookie, PEER, b"initiatr", 1.0)
    for at in range(len(cookie)):
        assert not jar.valid(cookie[:at] + bytes([cookie[at] ^ 1]) + cookie[at + 1 :], PEER, SPI, 1.0)
    assert not jar.valid(b"", PEER, SPI, 1.0)
    assert not jar.valid(cookie + b"x", PEER, SPI, 1.0)


# rfc 7296: cookie-stateless
def test_secrets_rotate_and_the_last_one_still_counts(jar: CookieJar) -> None:
    cookie = jar.bake(PEER, SPI, 0.0)
    assert jar.valid(cookie, PEER, SPI, LIFE - 1)
    assert jar.bake(PEER, SPI, LIFE + 1) != cookie
    assert jar.valid(cookie, PEER, SPI, 2 * LIFE)
    jar.bake(PEER, SPI, 2 * LIFE + 2)
    assert not jar.valid(cookie, PEER, SPI, 2 * LIFE + 2)


def test_a_long_silence_makes_old_cookies_worthless(jar: CookieJar) -> None:
    cookie = jar.bake(PEER, SPI, 0.0)
    assert not jar.valid(cookie, PEER, SPI, 10 * LIFE)


def test_nothing_is_valid_before_anything_was_given_out(jar: CookieJar) -> None:
    assert not jar.valid(bytes(16), PEER, SPI, 0.0)
