# SPDX-License-Identifier: GPL-2.0-or-later
"""The protected channel of an IKE SA: seals and opens its messages, and derives child keys (RFC 7296 2.14, 2.17)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from xfrmd.ike.saved import SavedKeys
from xfrmd.ike.select import Suite
from xfrmd.ike.v2 import fragments
from xfrmd.ike.v2.fragments import Reassembly
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, SealedMessage, open_sealed
from xfrmd.ike.v2.payloads import Payload, SkfPayload
from xfrmd.model.proposals import Transform
from xfrmd.model.secret import Secret
from xfrmd.transforms import catalog
from xfrmd.transforms.compute import IkeCipher
from xfrmd.transforms.keymat import ChildKeys, IkeKeys, child_keys, with_ppk

_RUN_BITS: Final = 32
"""IVs of one run count in the lower bits of 64: no IKE SA sends so many messages, no host restarts so often."""


class Channel:
    """The keys of one IKE SA. IVs of an AEAD and of CTR count up, so that none comes twice; those of CBC are random."""

    __slots__ = ("_counter", "_entropy", "_in", "_keys", "_out", "_sk_d", "prf")

    def __init__(
        self, suite: Suite, prf: Transform, keys: IkeKeys, entropy: Callable[[int], bytes] | None, *, ivs: int = 0
    ) -> None:
        """The channel of the original initiator; see `responder`. `entropy` is None where IVs may count up."""
        self.prf = prf
        self._sk_d, self._keys = keys.sk_d, keys
        self._out = IkeCipher.new(suite.cipher, keys.sk_ei, suite.integrity, keys.sk_ai)
        self._in = IkeCipher.new(suite.cipher, keys.sk_er, suite.integrity, keys.sk_ar)
        self._entropy = entropy
        self._counter = ivs

    @classmethod
    def of(
        cls,
        suite: Suite,
        prf: Transform,
        keys: IkeKeys,
        initiator: bool,
        entropy: Callable[[int], bytes],
        *,
        ivs: int = 0,
    ) -> Channel:
        """Our side of the channel; `initiator` tells which side that is. `ivs`: how many IVs have been used."""
        row = catalog.encr_row(suite.cipher)
        channel = cls(suite, prf, keys, None if row is not None and row.counts else entropy, ivs=ivs)
        if not initiator:
            channel._in, channel._out = channel._out, channel._in
        return channel

    @classmethod
    def restored(cls, suite: Suite, saved: SavedKeys, initiator: bool, entropy: Callable[[int], bytes]) -> Channel:
        """The channel of an earlier run. Its IVs go on in a range of their own, whatever that run has used last."""
        d, ai, ar, ei, er = (one.reveal() for one in (saved.sk_d, saved.sk_ai, saved.sk_ar, saved.sk_ei, saved.sk_er))
        assert suite.prf is not None
        ivs = ((saved.ivs >> _RUN_BITS) + 1) << _RUN_BITS
        return cls.of(suite, suite.prf, IkeKeys(d, ai, ar, ei, er, b"", b""), initiator, entropy, ivs=ivs)

    def saved(self) -> SavedKeys:
        """The keys, and how far their IVs have been used."""
        keys = self._keys
        return SavedKeys(
            sk_d=Secret(keys.sk_d),
            sk_ai=Secret(keys.sk_ai),
            sk_ar=Secret(keys.sk_ar),
            sk_ei=Secret(keys.sk_ei),
            sk_er=Secret(keys.sk_er),
            ivs=self._counter,
        )

    # rfc 7296: auth-sealed
    def seal(self, header: Header, payloads: Iterable[Payload], limit: int | None = None) -> bytes:
        """A sealed message of ours, in fragments if it is longer than `limit`; see fragments.build."""
        return fragments.build(header, payloads, self._out, self._iv, limit)

    def cut(self, octets: bytes, limit: int) -> bytes:
        """A message that this channel has sealed, in fragments of at most `limit` octets; see fragments.cut."""
        return fragments.cut(octets, self._out, self._iv, limit)

    def open(self, message: ClearMessage) -> SealedMessage:
        """A message of the peer's; see open_sealed for what is refused and how."""
        return open_sealed(message, self._in)

    def join(self, message: ClearMessage, closed: SkfPayload, arrived: Reassembly) -> SealedMessage | None:
        """A fragment of the peer's, and the message that it completes."""
        return arrived.add(message, closed, self._in)

    # rfc 7296: child-keymat
    def child_keys(self, ni: bytes, nr: bytes, shared: bytes | None, suite: Suite, more: bytes = b"") -> ChildKeys:
        """Keys of a child SA pair made under this IKE SA."""
        encr, integ = suite.encryption, suite.integrity
        return child_keys(self.prf, self._sk_d, ni=ni, nr=nr, shared=shared, encr=encr, integ=integ, more=more)

    def mix(self, ppk: Secret) -> None:
        """Derive from now on with a postquantum preshared key (RFC 8784 3)."""
        self._sk_d = with_ppk(self.prf, ppk, self._sk_d)
        self._keys = replace(self._keys, sk_d=self._sk_d)

    @property
    def heritage(self) -> tuple[Transform, bytes]:
        """The prf and SK_d, from which a rekey makes the next keys (RFC 7296 2.18)."""
        return self.prf, self._sk_d

    # rfc 7296: iv
    def _iv(self) -> bytes:
        if self._entropy is not None:
            return self._entropy(self._out.iv_len)
        self._counter += 1
        return self._counter.to_bytes(self._out.iv_len)
