# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole conversations as tshark reads them: a decoder that is not ours opens, checks and names all that we say.

Keys leave the engine by the test's own hand, out of its own two engines: the daemon has no way to show them.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.capture import Captured, pcap
from tests.conversations.dialogue import Dialogue, established
from tests.conversations.plans import CBC_X25519, GCM_X25519, Settings
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.events import Delete, Rekey
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.model.addresses import Prefix
from xfrmd.model.proposals import Transform

Suite = tuple[Transform, ...]
TSHARK = shutil.which("tshark")
pytestmark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed: apt-get install tshark")
FIELDS = tuple(f"isakmp.{name}" for name in ["exchangetype", "messageid", "flag_r", "typepayload", "notify.msgtype"])
CIPHERS = {
    GCM_X25519: ("AES-GCM-128 with 16 octet ICV [RFC5282]", "NONE [RFC4306]"),
    CBC_X25519: ("AES-CBC-256 [RFC3602]", "HMAC_SHA2_256_128 [RFC4868]"),
}
SA, KE, IDI, IDR, AUTH, NONCE, DELETE, TSI, TSR, SK = "33", "34", "35", "36", "39", "40", "42", "44", "45", "46"
PAYLOADS = {SA, KE, IDI, IDR, AUTH, NONCE, DELETE, TSI, TSR, SK}
"""Those that the story is told by: not parts of SA payloads, and not notifications, which others may be added to."""
INIT, IKE_AUTH, CREATE_CHILD, INFORMATIONAL = "34", "35", "36", "37"
USE_TRANSPORT_MODE, REKEY_SA = "16391", "16393"
_CHILD = (SK, SA, NONCE, TSI, TSR)
_IKE = (SK, SA, NONCE, KE)
LIFE = [
    (INIT, 0, False, (SA, KE, NONCE)),
    (INIT, 0, True, (SA, KE, NONCE)),
    (IKE_AUTH, 1, False, (SK, IDI, AUTH, SA, TSI, TSR)),
    (IKE_AUTH, 1, True, (SK, IDR, AUTH, SA, TSI, TSR)),
    (CREATE_CHILD, 2, False, _CHILD),
    (CREATE_CHILD, 2, True, _CHILD),
    (INFORMATIONAL, 3, False, (SK, DELETE)),
    (INFORMATIONAL, 3, True, (SK, DELETE)),
    (CREATE_CHILD, 0, False, _IKE),
    (CREATE_CHILD, 0, True, _IKE),
    (INFORMATIONAL, 1, False, (SK, DELETE)),
    (INFORMATIONAL, 1, True, (SK,)),
    (INFORMATIONAL, 0, False, (SK, DELETE)),
    (INFORMATIONAL, 0, True, (SK,)),
]
"""An IKE SA and a child; the child rekeyed by one end, the IKE SA by the other, which then deletes the old; the end.

The last request has Message ID 0: it is the first under the new IKE SA.
"""


class Recorded(Dialogue):
    """A dialogue that keeps what was said, and the keys it was said under."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.said: list[SendDatagram] = []
        self.keys: dict[tuple[bytes, bytes], IkeSa] = {}

    def deliver(self, datagram: SendDatagram) -> list[Effect]:
        """Record it, and deliver it."""
        self.said.append(datagram)
        answer = super().deliver(datagram)
        for sa in self.a.engine._ctx.store.ike_sas():
            if sa.channel is not None:
                self.keys[sa.spi_i, sa.spi_r] = sa
        return answer


class Told(NamedTuple):
    """One message as tshark tells it."""

    exchange: str
    number: int
    response: bool
    payloads: tuple[str, ...]
    notifications: tuple[str, ...]
    complaints: str


def frame(datagram: SendDatagram) -> bytes:
    """An Ethernet frame with this datagram."""
    ends = [struct.pack("!I", Prefix.host(end.address).value) for end in (datagram.local, datagram.remote)]
    udp = struct.pack("!HHHH", datagram.local.port, datagram.remote.port, 8 + len(datagram.data), 0) + datagram.data
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0, *ends)
    return bytes(12) + b"\x08\x00" + ip + udp


def table(talk: Recorded, suite: Suite, *, spoilt: bool = False) -> Iterator[str]:
    """The decryption table of tshark for this conversation."""
    cipher, integrity = CIPHERS[suite]
    for (spi_i, spi_r), sa in talk.keys.items():
        saved = sa.agreed_channel.saved()
        ei, er, ai, ar = (one.reveal().hex() for one in (saved.sk_ei, saved.sk_er, saved.sk_ai, saved.sk_ar))
        ei = ei[:-2] + f"{int(ei[-2:], 16) ^ 1:02x}" if spoilt else ei
        yield f'{spi_i.hex()},{spi_r.hex()},{ei},{er},"{cipher}",{ai},{ar},"{integrity}"'


def read(talk: Recorded, suite: Suite, directory: Path, *, spoilt: bool = False) -> list[Told]:
    """The conversation as tshark tells it."""
    capture = directory / "said.pcap"
    capture.write_bytes(pcap(Captured(n * 10**6, "", "", frame(one)) for n, one in enumerate(talk.said)))
    options = [
        word for row in table(talk, suite, spoilt=spoilt) for word in ("-o", f"uat:ikev2_decryption_table:{row}")
    ]
    fields = [word for field in (*FIELDS, "_ws.expert.message") for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", capture, *options, "-T", "fields", "-E", "separator=/t", "-E", "aggregator=,", *fields],
        capture_output=True, text=True, check=False, timeout=60, env={"HOME": str(directory), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [
        Told(
            exchange,
            int(number, 16),
            response in ("1", "True"),
            tuple(one for one in payloads.split(",") if one in PAYLOADS),
            tuple(notifications.split(",")),
            complaints,
        )
        for exchange, number, response, payloads, notifications, complaints in rows
    ]


@pytest.mark.parametrize("suite", CIPHERS, ids=["AES-GCM", "AES-CBC"])
def test_a_whole_life_is_read_by_another_decoder(suite: Suite, tmp_path: Path) -> None:
    talk = Recorded(Settings(ike=(suite,)))
    talk.connect()
    child = talk.a.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)
    talk.talk(talk.a.hear(Rekey(child), talk.now))
    talk.talk(talk.b.hear(Rekey(established(talk.b).spi), talk.now))
    talk.talk(talk.a.hear(Delete(None), talk.now))
    told = read(talk, suite, tmp_path)
    assert [(one.exchange, one.number, one.response, one.payloads) for one in told] == LIFE
    assert [one.complaints for one in told] == [""] * len(LIFE)
    assert REKEY_SA in told[4].notifications
    assert all(USE_TRANSPORT_MODE in one.notifications for one in told[2:6])


def test_with_another_key_the_same_decoder_reads_nothing(tmp_path: Path) -> None:
    """The control: what is seen above is seen by the keys alone."""
    talk = Recorded(Settings(ike=(GCM_X25519,)))
    talk.connect()
    request = read(talk, GCM_X25519, tmp_path)[2]
    spoilt = read(talk, GCM_X25519, tmp_path, spoilt=True)[2]
    assert AUTH in request.payloads
    assert spoilt.exchange == IKE_AUTH
    assert spoilt.payloads != request.payloads or spoilt.complaints
