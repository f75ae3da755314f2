# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounds of what strangers may cost: first messages, half-open IKE SAs, cookies (decision 44). Units as in
xfrmd.limits.
"""

from __future__ import annotations

from typing import Final

BEHIND_NETWORK: Final = {4: 8, 6: 80}
"""Bits of an address behind what counts as one network, /24 and /48: all hosts in it may be one sender's."""
DATAGRAM_BATCH: Final = 1024
"""Datagrams read from one socket per wake-up, then timers and other sockets have their turn."""
DATAGRAM_SLICE: Final = 0.01
"""Seconds after which they have it anyhow: what peers say under their IKE SAs is heard as it is read."""
GREETINGS_WAITING: Final = 4096
"""First messages that wait, of those with a cookie and of those without: two thousand peers that reconnect at once,
some of them twice.
"""
GREETINGS_OCTETS: Final = 8 * 1024 * 1024
"""Octets of them, 2048 each: those of honest peers are shorter, and 4096 of DATAGRAM_SIZE would be 64 MB."""
GREETINGS_SLICE: Final = 0.01
"""Seconds of work on first messages between two looks at the sockets."""
SIEVE_STEP: Final = 0.1
"""Seconds between two changes of what the kernel lets in of first messages: as long as a full queue of them takes."""
SIEVE_PRESSURE: Final = 3
"""So often in a step must a socket be half full when it has been read for as long as it may be: a crowd that comes at
once fills it once or twice. One that is read slowly, as what is in it costs much, is not full.
"""
SIEVE_LESS: Final = 0.7
"""What is left of the share with each step under pressure: from all to a tenth in 0.7 s, and with SIEVE_MORE five
sixths of what can be heard on the average.
"""
SIEVE_MORE: Final = 1.1
"""How much more is let in with each step without pressure: twice as much in 0.7 s."""
SIEVE_LEAST: Final = 1 / 1024
"""A link of 10 Gbit/s carries some 8 million small datagrams a second: of them 8,000."""
SIEVE_LOUD: Final = 0.25
"""A network that sends so large a part of all first messages, and of whose negotiations nothing comes, has a share of
its own: who floods from where it is keeps itself out first. Neither made-up addresses nor a crowd behind one NAT do.
"""
SIEVE_SUSPECT_LESS: Final = 0.25
"""What is left of such a network's share with each step under pressure: others have the room for a second, then."""
SIEVE_NETWORKS: Final = 8
"""Networks with shares of their own."""
SIEVE_TELL: Final = 60.0
"""Seconds between two notices: a flood may come in waves."""
HALF_OPEN_LIFETIME: Final = 30.0
"""A responder forgets an IKE_SA_INIT whose IKE_AUTH does not come."""
HALF_OPEN_COOKIE: Final = 64
"""IKE_SA_INITs of the last HALF_OPEN_LIFETIME that came to nothing, from which on a cookie is asked for (RFC 7296 2.6).
"""
HALF_OPEN_LAST: Final = 4096
"""Half-open IKE SAs that are kept at all."""
HALF_OPEN_BOOKS: Final = 16_384
"""Of so many it is remembered that nothing has come of them yet."""
HALF_OPEN_GRACE: Final = 2.0
"""An IKE_SA_INIT that was answered so long ago and not followed by IKE_AUTH is held against who sent it: the answer and
one retransmission have had the time.
"""
HALF_OPEN_STALE: Final = 32
"""So many of one host, and it must wait: some of a whole office behind one NAT are always called away."""
HALF_OPEN_STALE_NETWORK: Final = 128
"""The same for all hosts of one network (/24, /48)."""
HALF_OPEN_PAUSE: Final = 0.25
"""Seconds between two that such a host or network may still begin: honest ones beside it come through in the end."""
COOKIE_LIFETIME: Final = 60.0
"""A cookie's secret is used this long and recognised as long again."""
COOKIE_LINGER: Final = 10.0
"""Seconds for which cookies are still asked for when the load has gone: as long as copies of a message that was told
one may be under way, from a daemon's or a network's standstill.
"""
COOKIE_ASKER: Final = 104
"""Octets from which on a message is told a cookie, twice what that takes: no request with a key exchange is shorter,
and who forges addresses gains nothing by us.
"""
CLEAR_ANSWERS: Final = 100
"""Refusals in the clear per second: a help for an honest peer, no tool for a flood."""
