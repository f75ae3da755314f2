# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of a first IKE SA: by IKE_SA_INIT, anew by each additional key exchange, or of a session that goes on
(RFC 7296 2.14, RFC 9370 2.2.2, RFC 5723 5.1).
"""

from __future__ import annotations

from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.channel import Channel
from xfrmd.model.proposals import Transform
from xfrmd.transforms.keymat import ike_keys


def channel_of(
    ctx: Context,
    sa: IkeSa,
    spi_r: bytes,
    shared: bytes,
    *,
    before: Channel | None = None,
    heritage: tuple[Transform, bytes] | None = None,
) -> Channel:
    """The channel that a shared secret makes; the keys of its proofs are kept in the handshake.

    `before`: the channel whose SK_d it is made with; IVs go on from it. `heritage`: prf and SK_d of another IKE SA.
    """
    handshake, suite = sa.greeting, sa.agreed_suite
    assert suite.prf is not None
    keys = ike_keys(
        suite.prf,
        suite.cipher,
        suite.integrity,
        ni=handshake.nonce_i,
        nr=handshake.nonce_r,
        shared=shared,
        spi_i=sa.spi_i,
        spi_r=spi_r,
        old=before.heritage if before is not None else heritage,
    )
    handshake.sk_pi, handshake.sk_pr = keys.sk_pi, keys.sk_pr
    ivs = before.saved().ivs if before is not None else 0
    return Channel.of(suite, suite.prf, keys, sa.initiator, ctx.entropy, ivs=ivs)
