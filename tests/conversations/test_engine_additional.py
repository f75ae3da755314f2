# SPDX-License-Identifier: GPL-2.0-or-later
"""Additional key exchanges (RFC 9370): by IKE_INTERMEDIATE (RFC 9242) in the first IKE SA, by IKE_FOLLOWUP_KE later."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue, Side, datagrams, established, forge, kinds, read
from tests.conversations.plans import ENCR_CBC, GCM_X25519, INTEG, PRF, SMB_REQID, X25519, Settings
from tests.conversations.scenes import A4, B4, tcp
from tests.conversations.test_engine_peers import child_request
from xfrmd import limits
from xfrmd.ike.effects import Effect, SendDatagram
from xfrmd.ike.events import Acquire, PlanChanged, Rekey
from xfrmd.ike.v2.constants import AuthMethodId, ExchangeType, NotifyType
from xfrmd.ike.v2.header import HEADER, Header
from xfrmd.ike.v2.message import SealedMessage, build_clear, covered, parse_clear
from xfrmd.ike.v2.payloads import AuthPayload, IdiPayload, KePayload, NotifyPayload, Payload
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.proposals import Transform
from xfrmd.wire.reader import Reader

MLKEM768, MLKEM1024, AND_P256 = Transform(6, 36), Transform(6, 37), Transform(7, 19)
ONE = Settings(ike=((*GCM_X25519, MLKEM768),), pfs=True, smb=True)
TWO = Settings(ike=((ENCR_CBC, INTEG, PRF, X25519, MLKEM1024, AND_P256),), pfs=True, smb=True)
EITHER = Settings(ike=((*GCM_X25519, MLKEM768), GCM_X25519), smb=True)
PLAIN = Settings(smb=True)
INIT, INTERMEDIATE, AUTH = ExchangeType.IKE_SA_INIT, ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_AUTH
CREATE, FOLLOWUP = ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE
INFORMATIONAL = ExchangeType.INFORMATIONAL


def whole(settings: Settings, other: Settings | None = None) -> Dialogue:
    """Two that send each message in one datagram, so that messages can be counted."""
    ours, theirs = (replace(one, fragment_size=limits.DATAGRAM_SIZE) for one in (settings, other or settings))
    return Dialogue(ours, theirs)


def exchanges(effects: list[Effect]) -> list[int]:
    """Those of all datagrams, each request and each response."""
    return [HEADER.read(Reader(each.data)).exchange for each in datagrams(effects)]


def twice(*kinds_of: int) -> list[int]:
    return [one for kind in kinds_of for one in (kind, kind)]


def assert_same_keys(talk: Dialogue) -> None:
    """What one end sends with the other takes."""
    ours, theirs = talk.a.installed(), talk.b.installed()
    assert len(ours) == len(theirs) > 0
    for sa in ours:
        (other,) = [one for one in theirs if one.key == sa.key]
        assert other.inbound != sa.inbound
        assert other.encryption_key.reveal() == sa.encryption_key.reveal()


def smb(talk: Dialogue, side: Side) -> list[Effect]:
    """A second child SA, which has a key exchange of its own."""
    return side.hear(Acquire(SMB_REQID, tcp(side.own, talk.other(side).own, 445)), talk.now)


# rfc 9242: sequence
# rfc 9370: intermediate
@pytest.mark.parametrize(("settings", "count"), [(ONE, 1), (TWO, 2)])
def test_each_has_an_exchange_between_ike_sa_init_and_ike_auth(settings: Settings, count: int) -> None:
    talk = whole(settings)
    first = talk.acquire()
    said = exchanges(first + talk.talk(first))
    assert said == twice(INIT, *[INTERMEDIATE] * count, AUTH)
    assert_same_keys(talk)
    for side in (talk.a, talk.b):
        (sa,) = side.engine.ike_sas()
        assert sa.state == "established"
        methods = [one for one in sa.transforms if one.type in (4, 6, 7)]
        assert methods == [one for one in settings.ike[0] if one.type in (4, 6, 7)]


# rfc 9370: additional-transforms
@pytest.mark.parametrize("settings", [EITHER, ONE])
def test_a_peer_without_them_gets_what_the_policy_has_beside(settings: Settings) -> None:
    """As initiator and as responder; a policy that has nothing else refuses."""
    for ours, theirs in ((settings, PLAIN), (PLAIN, settings)):
        talk = whole(ours, theirs)
        first = talk.acquire()
        said = exchanges(first + talk.talk(first))
        if settings is EITHER:
            assert said == twice(INIT, AUTH)
            assert talk.a.engine.ike_sas()[0].transforms[-1] == X25519
            assert_same_keys(talk)
        else:
            assert INTERMEDIATE not in said
            assert not talk.b.engine.ike_sas()
            wants = ("MLKEM768", "none") if ours is PLAIN else ("none", "MLKEM768")
            assert (
                f"additional key exchange 1: ours {wants[0]}, theirs {wants[1]}" in talk.b.told("no-proposal").message
            )


# rfc 9242: announce
def test_a_peer_that_agrees_without_the_exchange_is_not_believed() -> None:
    """It repeats our proposal and does not say that it knows IKE_INTERMEDIATE."""
    talk = whole(ONE)
    request = talk.acquire()
    response = datagrams(talk.deliver(datagrams(request)[0]))[0]
    clear = parse_clear(response.data)
    kept = [one for one in clear.payloads if getattr(one, "notify", 0) != NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED]
    assert len(kept) == len(clear.payloads) - 1
    assert kinds(talk.deliver(rebuilt(response, clear.header, kept))) == []
    assert talk.a.engine.ike_sas()[0].state == "connecting"


def rebuilt(datagram: SendDatagram, header: Header, payloads: list[Payload]) -> SendDatagram:
    return replace(datagram, data=build_clear(header, payloads))


def started(settings: Settings = ONE) -> tuple[Dialogue, list[Effect]]:
    """Both have IKE_SA_INIT behind them; A's first IKE_INTERMEDIATE is not delivered yet."""
    talk = whole(settings)
    answer = talk.deliver(datagrams(talk.acquire())[0])
    return talk, talk.deliver(datagrams(answer)[0])


# rfc 9242: sequence
def test_ike_auth_before_they_are_made_is_refused_and_ends_it() -> None:
    talk, _ = started()
    identity = IdiPayload.of(Identity(IdType.IPV4_ADDR, A4.packed))
    proof: list[Payload] = [identity, AuthPayload(AuthMethodId.SHARED_KEY_MIC, bytes(32))]
    request = child_request()
    answer = talk.deliver(forge(talk.a, AUTH, [*proof, request[1], *request[3:]], 1))
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.INVALID_SYNTAX) is not None
    assert talk.b.engine.ike_sas() == ()
    assert "in" not in kinds(answer)


# rfc 9370: intermediate
@pytest.mark.parametrize("method", [37, 31])
def test_another_method_than_was_agreed_ends_it(method: int) -> None:
    talk, _ = started()
    answer = talk.deliver(forge(talk.a, INTERMEDIATE, [KePayload(method, bytes(1568))], 1))
    assert exchanges(answer) == [INTERMEDIATE]
    assert talk.b.engine.ike_sas() == ()


# rfc 9242: errors
@pytest.mark.parametrize("public", [b"", bytes(1183), b"\xff" * 1184], ids=["empty", "short", "numbers too large"])
def test_a_public_value_that_is_none_ends_it(public: bytes) -> None:
    talk, _ = started()
    answer = talk.deliver(forge(talk.a, INTERMEDIATE, [KePayload(36, public)], 1))
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.INVALID_SYNTAX) is not None
    assert talk.b.engine.ike_sas() == ()


# rfc 9370: additional-transforms
def test_one_that_was_not_agreed_on_is_refused() -> None:
    talk = whole(PLAIN)
    talk.deliver(datagrams(talk.deliver(datagrams(talk.acquire())[0]))[0])
    answer = talk.deliver(forge(talk.a, INTERMEDIATE, [KePayload(36, bytes(1184))], 1))
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.INVALID_SYNTAX) is not None
    assert talk.b.engine.ike_sas() == ()


# rfc 9242: errors
def test_a_refusal_ends_the_attempt_and_is_told() -> None:
    talk, _ = started()
    refusal = NotifyPayload(NotifyType.INVALID_SYNTAX)
    talk.deliver(answer_of_b(talk, refusal))
    assert talk.a.engine.ike_sas() == ()
    assert "INVALID_SYNTAX" in str(talk.a.told("init-refused"))


def test_a_ciphertext_that_is_none_gives_keys_that_open_nothing() -> None:
    """FIPS 203 6.3: a decapsulation does not fail."""
    talk, effects = started()
    talk.deliver(datagrams(effects)[0])
    talk.deliver(answer_of_b(talk, KePayload(36, bytes(1088))))
    assert all(sa.state != "established" for side in (talk.a, talk.b) for sa in side.engine.ike_sas())


def answer_of_b(talk: Dialogue, payload: Payload) -> SendDatagram:
    """What B could answer to the first IKE_INTERMEDIATE, under the keys of that exchange, which A has too."""
    sa = established(talk.a)
    header = Header.of(sa.spi_i, sa.spi_r, INTERMEDIATE, 1, initiator=False, response=True)
    sa.agreed_channel._in, sa.agreed_channel._out = sa.agreed_channel._out, sa.agreed_channel._in
    sealed = sa.agreed_channel.seal(header, [payload])
    sa.agreed_channel._in, sa.agreed_channel._out = sa.agreed_channel._out, sa.agreed_channel._in
    return SendDatagram(sa.remote, sa.local, sealed)


# rfc 9370: keys-updated
def test_a_lost_response_comes_again_under_the_keys_it_was_sealed_with() -> None:
    talk, effects = started(TWO)
    request = datagrams(effects)[0]
    first = datagrams(talk.deliver(request))[0]
    assert datagrams(talk.deliver(request))[0].data == first.data
    talk.talk(talk.deliver(first))
    assert_same_keys(talk)


# rfc 9242: auth-covers
@pytest.mark.parametrize("which", ["initiator", "responder"])
def test_auth_covers_what_was_said(which: str) -> None:
    """Another history of one end: its peer does not believe it."""
    talk, effects = started()
    authenticates = talk.deliver(datagrams(talk.deliver(datagrams(effects)[0]))[0])
    steps = established(talk.b).greeting.intermediate
    assert steps.made == 1
    setattr(steps, which, bytes(32))
    answer = talk.deliver(datagrams(authenticates)[0])
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.AUTHENTICATION_FAILED) is not None
    talk.talk(answer)
    assert talk.a.installed() == talk.b.installed() == []


# rfc 9242: auth-covers
@pytest.mark.parametrize("settings", [ONE, TWO])
def test_int_auth_covers_the_message_without_iv_padding_and_icv(settings: Settings) -> None:
    """RFC 9242 3.3.2, by slices of the datagram: both lengths are made smaller by what is left out."""
    talk, effects = started(settings)
    request = datagrams(effects)[0]
    message = opened(talk, request.data)
    less = len(request.data) - 32 - len(message.plaintext)
    headers = bytearray(request.data[:32])
    headers[24:28] = (len(request.data) - less).to_bytes(4)
    headers[30:32] = (4 + len(message.plaintext)).to_bytes(2)
    assert covered(message.header, message.payloads[0].type, message.plaintext) == bytes(headers) + message.plaintext


def opened(talk: Dialogue, data: bytes) -> SealedMessage:
    """A's own message, with the keys that it sends with."""
    channel = established(talk.a).agreed_channel
    channel._in, channel._out = channel._out, channel._in
    try:
        return channel.open(parse_clear(data))
    finally:
        channel._in, channel._out = channel._out, channel._in


# rfc 9370: followup
@pytest.mark.parametrize(("settings", "count"), [(ONE, 1), (TWO, 2)])
def test_a_new_child_sa_is_made_after_them(settings: Settings, count: int) -> None:
    talk = whole(settings)
    talk.connect()
    first = smb(talk, talk.a)
    answer = talk.deliver(datagrams(first)[0])
    assert kinds(answer) == ["send"], "nothing is installed before the last key exchange"
    assert exchanges(answer + talk.talk(answer)) == [CREATE, *twice(*[FOLLOWUP] * count)]
    assert len(talk.a.installed()) == 4
    assert_same_keys(talk)


# rfc 9370: followup
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize(("settings", "count"), [(ONE, 1), (TWO, 2)])
def test_rekeys_of_child_and_ike_sa(settings: Settings, count: int, who: str) -> None:
    talk = whole(settings)
    talk.connect()
    side: Side = getattr(talk, who)
    spi = side.engine.ike_sas()[0].children[0].spi_in
    effects = side.hear(Rekey(spi.to_bytes(4)), talk.now)
    said = exchanges(effects + talk.talk(effects))
    assert said == twice(CREATE, *[FOLLOWUP] * count, INFORMATIONAL)
    assert_same_keys(talk)
    before = side.engine.ike_sas()[0].local_spi
    effects = side.hear(Rekey(before), talk.now)
    said = exchanges(effects + talk.talk(effects))
    assert said == twice(CREATE, *[FOLLOWUP] * count, INFORMATIONAL)
    for one in (talk.a, talk.b):
        (sa,) = [each for each in one.engine.ike_sas() if each.state == "established"]
        assert len(sa.children) == 1
        assert sa.transforms[-1].id == settings.ike[0][-1].id
    talk.talk(smb(talk, talk.other(side)))
    assert_same_keys(talk)


# rfc 9370: missing-followup
def test_an_exchange_that_does_not_come_makes_no_sa() -> None:
    talk = whole(ONE)
    talk.connect()
    answer = talk.deliver(datagrams(smb(talk, talk.a))[0])
    followup = talk.deliver(datagrams(answer)[0])
    assert exchanges(followup) == [FOLLOWUP]
    assert len(talk.a.installed()) == len(talk.b.installed()) == 2
    talk.now += limits.FOLLOWUP_WAIT + 1
    late = talk.deliver(datagrams(followup)[0])
    assert read(talk.a, datagrams(late)[0]).notify(NotifyType.STATE_NOT_FOUND) is not None
    assert len(talk.b.installed()) == 2


# rfc 9370: state-not-found
@pytest.mark.parametrize("ask", [CREATE, "rekey", "ike"])
def test_a_responder_that_has_forgotten_is_asked_anew(ask: object) -> None:
    talk = whole(ONE)
    talk.connect()
    (sa,) = talk.a.engine.ike_sas()
    rekeyed = sa.local_spi if ask == "ike" else sa.children[0].spi_in.to_bytes(4)
    effects = smb(talk, talk.a) if ask == CREATE else talk.a.hear(Rekey(rekeyed), talk.now)
    followup = talk.deliver(datagrams(talk.deliver(datagrams(effects)[0]))[0])
    established(talk.b).following = None
    answer = talk.deliver(datagrams(followup)[0])
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.STATE_NOT_FOUND) is not None
    talk.talk(answer)
    assert exchanges(talk.pass_time(limits.BUSY_RETRY * 2 + 1)) == twice(
        CREATE, FOLLOWUP, *([INFORMATIONAL] if ask != CREATE else [])
    )
    assert_same_keys(talk)


# rfc 9370: state-not-found
def test_a_link_that_is_not_theirs_finds_nothing() -> None:
    talk = whole(ONE)
    talk.connect()
    talk.deliver(datagrams(smb(talk, talk.a))[0])
    number = established(talk.a).window.next_id
    payloads: list[Payload] = [
        KePayload(36, bytes(1184)),
        NotifyPayload(NotifyType.ADDITIONAL_KEY_EXCHANGE, b"another"),
    ]
    answer = talk.deliver(forge(talk.a, FOLLOWUP, payloads, number))
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.STATE_NOT_FOUND) is not None
    assert len(talk.b.installed()) == 2


def test_a_responder_that_asks_for_none_of_those_agreed_is_not_believed() -> None:
    """Its answer chooses them and has no ADDITIONAL_KEY_EXCHANGE: no SA is made with less than was agreed."""
    talk = whole(ONE)
    talk.connect()
    response = read(talk.a, datagrams(talk.deliver(datagrams(smb(talk, talk.a))[0]))[0])
    without = [one for one in response.payloads if getattr(one, "notify", 0) != NotifyType.ADDITIONAL_KEY_EXCHANGE]
    talk.deliver(forge(talk.b, CREATE, without, response.header.message_id, response=True))
    assert len(talk.a.installed()) == 2
    assert "additional key exchanges were agreed" in str(talk.a.told("protocol-error"))


def test_the_plan_may_have_lost_the_filter_meanwhile() -> None:
    talk = whole(ONE)
    talk.connect()
    followup = talk.deliver(datagrams(talk.deliver(datagrams(smb(talk, talk.a))[0]))[0])
    plan = plans.plan(B4, [A4], ONE)
    talk.b.hear(PlanChanged(replace(plan, protect=plan.protect[:1])), talk.now)
    answer = talk.deliver(datagrams(followup)[0])
    assert read(talk.a, datagrams(answer)[0]).notify(NotifyType.TEMPORARY_FAILURE) is not None
    assert len(talk.b.installed()) == 2
