# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds of what is fetched by HTTP: revocation lists, and answers of OCSP responders. Units as in xfrmd.limits."""

from __future__ import annotations

from typing import Final

URL: Final = 512
"""Characters of an address: real ones have less than a hundred."""
NAMED: Final = 4
"""Addresses of one certificate that are looked at: more is no help, and each costs a peer's handshake."""
PLACES: Final = 16
"""Lists, responders or hosts that one method of a rule names."""
SOURCES: Final = 8
"""Addresses that are asked for one peer: those of its certificate and of the authorities above it."""
AT_ONCE: Final = 16
"""Fetches at once; more wait for their turn."""
WAITING: Final = 256
"""Fetches that run or wait; more fail at once, which costs nobody but the peers they were for."""
TIME: Final = 8.0
"""For one fetch with all that belongs to it: a server that drips an octet a second has no more of it."""
CONNECT: Final = 3.0
"""For one address of a server to take a connection: one lost SYN, and its repetition after a second."""
ADDRESSES: Final = 4
"""Addresses of one server that are tried."""
HEAD: Final = 8 * 1024
"""Of the head of an answer, and of one line of what is in chunks."""
CRL_FETCHED: Final = 2 * 1024 * 1024
"""Of a list that is fetched: some fifty thousand revoked certificates, as in a file."""
CRLS_FETCHED: Final = 64
"""Lists that are kept, in memory and on the disk; those that were asked for longest ago go."""
OCSP_FETCHED: Final = 16 * 1024
"""Of an answer of an OCSP responder: it carries up to some certificates."""
OCSP_KEPT: Final = 1024
"""Answers of OCSP responders that are kept while they hold."""
OCSP_FRESH: Final = 3600.0
"""An answer is believed for so long at most, whatever it says; without nextUpdate newer news is always to be had."""
OCSP_SKEW: Final = 300
"""Seconds that a responder's clock may be ahead of ours."""
AHEAD: Final = 0.25
"""A list is fetched anew when this part of the time is left for which it holds."""
PAUSE: Final = (300.0, 86_400.0)
"""Between two fetches of a list at the least and at the most: an authority that revokes something is heard of within
a day, even where its lists hold for a month."""
RETRY: Final = (20.0, 3600.0)
"""What failed is asked for again at the earliest after the first, then twice as late each time, up to the second."""
REVOCATION_WAIT: Final = (3.0, 9.0)
"""A handshake waits so long for lists and responders: where strongcrlcheck is 1, and where it is 2 and nobody may come
in without them. Well below HALF_OPEN_LIFETIME and the time that peers repeat their request in."""
