# SPDX-License-Identifier: GPL-2.0-or-later
"""What the words of a Windows policy do in IKEv2: from the text of a policy file to what two engines say and install.

docs/policy-reference.md has a table of these words, and each of them has its tests here (`shows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conversations.dialogue import Dialogue, Side, datagrams, read
from tests.conversations.network import Network
from tests.conversations.scenes import A4, B4, Pair, ping, tcp
from xfrmd import limits
from xfrmd.adapters.xfrm import states, uapi
from xfrmd.compiler import compile_policy
from xfrmd.ike.effects import Effect, InstallSa
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import Acquire, Initiate, PlanChanged, Rekey, TicketKeys
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.ike.v2.payloads import KePayload
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.model.plan import Plan
from xfrmd.model.proposals import Lifetime
from xfrmd.model.sad import SadEntry
from xfrmd.model.secret import Secret
from xfrmd.model.selector import Selector
from xfrmd.policy import load
from xfrmd.transforms.catalog import name_of

REFERENCE = Path(__file__).parents[2] / "docs" / "policy-reference.md"
POLICY = """\
version: 1
filterlists:
  - {name: all, filters: [{srcaddr: me, dstaddr: any}]}
  - {name: files, filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 445}]}
  - {name: mail, filters: [{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 25}]}
filteractions:
  - name: require
    action: negotiate  # action
policies:
  - name: P
    assign: yes  # policy
    rules:
      - {name: all, filterlist: all, filteraction: require, psk: a shared secret of them both}
      - {name: files, filterlist: files, filteraction: require, psk: a shared secret of them both}
      - {name: mail, filterlist: mail, filteraction: require, psk: a shared secret of them both}
"""
INIT, AUTH, CREATE = ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH, ExchangeType.CREATE_CHILD_SA
SHOWN: set[str] = set()
T = TypeVar("T", bound=Callable[..., None])


def shows(*words: str) -> Callable[[T], T]:
    """Marks a test of what these words do."""

    def mark(test: T) -> T:
        SHOWN.update(words)
        return test

    return mark


def policy(*, policy: str = "", action: str = "") -> str:
    """The policy with lines of its own for the policy and for the filter action."""
    text = POLICY.replace("  # policy", f"\n    {policy}" if policy else "")
    return text.replace("  # action", f"\n    {action}" if action else "")


def plan_of(own: Address, text: str) -> Plan:
    facts = HostFacts(interfaces=(Interface("eth0", InterfaceKind.LAN, (InterfaceAddress(own, 24),)),))
    return compile_policy(load(text, "p.yaml", lambda _: b""), facts)


def dialogue(text: str, other: str | None = None) -> Dialogue:
    """A under one policy, B under the same or another."""
    return Dialogue(a=lambda _: plan_of(A4, text), b=lambda _: plan_of(B4, other or text))


def asks(side: Side, packet: Selector, rule: str) -> Acquire:
    """What the kernel says of a packet that a rule protects."""
    plan = plan_of(side.own, POLICY)  # reqids are the same under all of these policies
    (reqid,) = {one.reqid for one in plan.protect if one.origin.rule == rule and one.selectors[0].src.family == 4}
    return Acquire(reqid, packet)


def ask(talk: Dialogue, packet: Selector, rule: str) -> list[Effect]:
    """A packet of A's asks; all that follows is said."""
    first = talk.a.hear(asks(talk.a, packet, rule), talk.now)
    return [*first, *talk.talk(first)]


def exchanges(effects: list[Effect]) -> list[int]:
    """The kinds of exchanges, one for each request."""
    return [one.data[18] for one in datagrams(effects) if not one.data[19] & 0x20]


def pings(talk: Dialogue) -> list[Effect]:
    return ask(talk, ping(A4, B4), "all")


def files(talk: Dialogue) -> list[Effect]:
    return ask(talk, tcp(A4, B4, 445), "files")


def mails(talk: Dialogue) -> list[Effect]:
    return ask(talk, tcp(A4, B4, 25), "mail")


def children(side: Side) -> list[int]:
    """How many child SAs each IKE SA has."""
    return [len(sa.children) for sa in side.engine.ike_sas()]


def only(side: Side) -> IkeSaView:
    (sa,) = side.engine.ike_sas()
    return sa


# Main mode


@shows("mmlifetime")
def test_the_main_mode_lifetime_ends_in_new_keys_without_a_new_authentication() -> None:
    talk = dialogue(policy(policy="mmlifetime: 10", action="qmsecmethods: 'ESP[AES128-GCM]:172799s'"))
    pings(talk)
    before = only(talk.a)
    assert before.rekey_at is not None
    assert 0.81 * 600 <= before.rekey_at <= 0.9 * 600
    effects = talk.pass_time(560.0)
    assert set(exchanges(effects)) == {CREATE, ExchangeType.INFORMATIONAL}, "the new IKE SA, and the old one's end"
    after = only(talk.a)
    assert after.local_spi != before.local_spi
    assert after.children == before.children, "child SAs stay with the IKE SA's successor"


@shows("mmlifetime")
def test_an_ike_sa_that_gets_no_new_keys_ends_with_its_lifetime_and_takes_its_child_sas_along() -> None:
    """Windows leaves quick modes alive. IKEv2 has no child SA without an IKE SA."""
    talk = dialogue(policy(policy="mmlifetime: 10"))
    pings(talk)
    # B's operator has changed main mode methods: the IKE SA stays, and its rekey is refused.
    talk.b.hear(PlanChanged(plan_of(B4, policy(policy="mmsecmethods: AES192-SHA512-DHGroup16"))), talk.now)
    talk.pass_time(595.0)
    assert children(talk.a) == [1]
    assert {notice.code for notice in talk.a.notices()} >= {"rekey-failed", "no-proposal"}
    talk.pass_time(10.0)
    assert [sa for sa in talk.a.engine.ike_sas() if sa.state == "established"] == []
    assert children(talk.b) in ([], [0])


@shows("mmauthlifetime")
def test_the_lifetime_of_an_authentication_ends_in_a_new_one() -> None:
    talk = dialogue(policy(policy="mmauthlifetime: 10"))
    pings(talk)
    before = only(talk.a)
    assert before.reauth_at is not None
    assert 0.8 * 600 <= before.reauth_at <= 0.9 * 600
    effects = talk.pass_time(570.0)
    assert ExchangeType.IKE_SA_INIT in exchanges(effects)
    assert only(talk.a).local_spi != before.local_spi
    assert children(talk.a) == children(talk.b) == [1]


# rfc 7296: suites-configurable
@shows("mmsecmethods")
def test_the_first_method_s_group_is_tried_first_and_the_responder_s_order_decides() -> None:
    ours = policy(policy="mmsecmethods: AES128-SHA256-DHGroup14 AES256-SHA384-ECP384")
    theirs = policy(policy="mmsecmethods: AES256-SHA384-ECP384 AES128-SHA256-DHGroup14")
    talk = dialogue(ours, theirs)
    effects = pings(talk)
    assert exchanges(effects)[:3] == [INIT, INIT, AUTH], "B asks for the group of its own first method"
    assert [name_of(one) for one in only(talk.b).transforms][-1] == "ECP384"


@shows("qmpermm")
def test_quick_modes_per_main_mode_are_counted_and_the_next_one_gets_a_main_mode_of_its_own() -> None:
    talk = dialogue(policy(policy="qmpermm: 2"))
    assert exchanges(pings(talk)) == [INIT, AUTH]
    assert exchanges(files(talk)) == [CREATE]
    assert exchanges(mails(talk)) == [INIT, AUTH]
    assert children(talk.a) == [2, 1], "the IKE SA that is spent stays for its child SAs"


@shows("qmpermm")
def test_rekeys_count_as_quick_modes_and_a_spent_main_mode_goes_with_its_last_child() -> None:
    talk = dialogue(policy(policy="qmpermm: 2"))
    pings(talk)
    first = only(talk.a)
    effects = talk.a.hear(Rekey(first.children[0].spi_in.to_bytes(4)), 1.0)
    assert exchanges([*effects, *talk.talk(effects)])[0] == CREATE
    (child,) = only(talk.a).children
    effects = talk.a.hear(Rekey(child.spi_in.to_bytes(4)), 2.0)
    assert exchanges([*effects, *talk.talk(effects)])[:2] == [INIT, AUTH]
    talk.pass_time(30.0)
    assert (children(talk.a), only(talk.a).local_spi != first.local_spi) == ([1], True)


@shows("qmpermm")
def test_without_a_limit_one_main_mode_serves_all() -> None:
    talk = dialogue(policy())
    effects = [*pings(talk), *files(talk), *mails(talk)]
    assert exchanges(effects) == [INIT, AUTH, CREATE, CREATE]
    assert children(talk.a) == [3]


@shows("qmpermm", "mmpfs")
def test_the_limit_is_for_what_this_host_asks_for() -> None:
    """The peer's own policy says how many it asks for: A has no limit here, and B answers."""
    talk = dialogue(policy(), policy(policy="mmpfs: yes"))
    assert exchanges([*pings(talk), *files(talk)]) == [INIT, AUTH, CREATE]
    assert children(talk.b) == [2]


@shows("mmpfs")
def test_master_pfs_gives_each_child_sa_a_key_exchange_of_its_own_by_a_main_mode_of_its_own() -> None:
    talk = dialogue(policy(policy="mmpfs: yes"))
    assert exchanges([*pings(talk), *files(talk), *mails(talk)]) == [INIT, AUTH] * 3
    assert children(talk.a) == [1, 1, 1]
    first = talk.a.engine.ike_sas()[0]
    effects = talk.a.hear(Rekey(first.children[0].spi_in.to_bytes(4)), 1.0)
    assert exchanges([*effects, *talk.talk(effects)])[:2] == [INIT, AUTH], "new keys come by a main mode as well"
    talk.pass_time(30.0)
    assert children(talk.a) == [1, 1, 1]
    assert first.local_spi not in {sa.local_spi for sa in talk.a.engine.ike_sas()}


# Quick mode


def key_exchanges(talk: Dialogue, effects: list[Effect]) -> list[bool]:
    """Whether each sealed request of A's has a KE payload."""
    requests = [one for one in datagrams(effects) if one.local.address == A4 and not one.data[19] & 0x20]
    return [read(talk.b, one).first(KePayload) is not None for one in requests if one.data[18] != INIT]


@shows("qmpfs")
def test_the_first_child_sa_has_no_key_exchange_of_its_own_and_all_later_ones_have() -> None:
    """IKE_AUTH has no KE payload (RFC 7296 1.2): its child SA's keys come of the exchange that has just been made."""
    talk = dialogue(policy(action="qmpfs: yes"))
    assert key_exchanges(talk, pings(talk)) == [False]
    assert key_exchanges(talk, files(talk)) == [True]
    for child in only(talk.a).children:
        effects = talk.a.hear(Rekey(child.spi_in.to_bytes(4)), 1.0)
        assert key_exchanges(talk, [*effects, *talk.talk(effects)])[0], "the first child SA's successor has one"
    assert children(talk.a) == [2]


@shows("qmpfs")
def test_session_pfs_is_demanded_of_the_peer_and_never_refused_to_it() -> None:
    plain, strict = policy(), policy(action="qmpfs: yes")
    talk = dialogue(plain, strict)
    pings(talk)
    files(talk)
    assert children(talk.b) == [1], "A's offer without a key exchange is refused"
    assert talk.a.told("no-proposal").remedy
    talk = dialogue(strict, plain)
    pings(talk)
    files(talk)
    assert children(talk.b) == [2]


@shows("qmpfs", "mmpfs")
def test_with_master_pfs_session_pfs_has_nothing_to_add() -> None:
    talk = dialogue(policy(policy="mmpfs: yes", action="qmpfs: yes"))
    assert exchanges([*pings(talk), *files(talk)]) == [INIT, AUTH] * 2


def limits_in_the_kernel(sa: SadEntry) -> tuple[int, int, int, int]:
    """Soft and hard limit in octets, then in seconds since the SA was made, as XFRM_MSG_NEWSA carries them."""
    fields = uapi.SA.unpack_from(states.encode(sa))
    wanted = (sa.soft.kilobytes * 1024, sa.hard.kilobytes * 1024)
    start = next(n for n in range(len(fields)) if tuple(fields[n : n + 2]) == wanted)
    soft_octets, hard_octets, _, _, soft_seconds, hard_seconds = fields[start : start + 6]
    return soft_octets, hard_octets, soft_seconds, hard_seconds


# rfc 7296: lifetimes-own
@shows("qmsecmethods")
def test_lifetimes_in_kilobytes_and_seconds_reach_the_kernel_on_both_sides_each_its_own() -> None:
    talk = dialogue(
        policy(action="qmsecmethods: 'ESP[AES128-GCM]:204800k/900s'"),
        policy(action="qmsecmethods: 'ESP[AES128-GCM]:50000k'"),
    )
    effects = pings(talk)
    made = [one.sa for one in effects if isinstance(one, InstallSa)]
    assert len(made) == 4
    for sa in made:
        kilobytes, seconds = (204_800, 900) if sa in talk.a.installed() else (50_000, 3600)
        assert sa.hard == Lifetime(seconds, kilobytes)
        soft_octets, hard_octets, soft_seconds, hard_seconds = limits_in_the_kernel(sa)
        assert (hard_octets, hard_seconds) == (kilobytes * 1024, seconds)
        assert 0.8 * hard_octets < soft_octets <= 0.9 * hard_octets
        assert 0.8 * hard_seconds < soft_seconds <= 0.9 * hard_seconds


@shows("qmsecmethods")
def test_the_first_of_our_methods_that_the_peer_has_is_taken_with_its_own_lifetime() -> None:
    talk = dialogue(
        policy(action="qmsecmethods: 'ESP[AES256-GCM]:100s ESP[AES128-GCM]:200s ESP[AES256,SHA256]:300s'"),
        policy(action="qmsecmethods: 'ESP[AES256,SHA256] ESP[AES128-GCM]'"),
    )
    pings(talk)
    sa = talk.a.installed()[0]
    assert sa.encryption is not None
    assert (name_of(sa.encryption), sa.hard.seconds) == ("AES256", 300), "the responder's order decides"


@shows("mmsecmethods", "qmsecmethods")
def test_sas_with_methods_that_a_new_policy_no_longer_names_are_rekeyed_as_soon_as_both_have_it() -> None:
    old = policy(policy="mmsecmethods: AES128-SHA256-X25519", action="qmsecmethods: 'ESP[AES128,SHA256]'")
    new = policy(policy="mmsecmethods: AES256-SHA256-X25519", action="qmsecmethods: 'ESP[AES256,SHA256]'")
    both = new.replace("AES256-SHA256-X25519", "AES256-SHA256-X25519 AES128-SHA256-X25519")
    talk = dialogue(old)
    pings(talk)
    ike = only(talk.a).local_spi
    for side, text in ((talk.a, both), (talk.b, new)):
        effects = side.hear(PlanChanged(plan_of(side.own, text)), 1.0)
        talk.talk(effects)
    assert children(talk.a) == children(talk.b) == [1]
    assert only(talk.a).local_spi != ike
    assert [name_of(one) for one in only(talk.a).transforms] == ["AES256", "SHA256", "SHA256", "X25519"]
    encryption = talk.b.installed()[-1].encryption
    assert encryption is not None
    assert name_of(encryption) == "AES256"
    assert talk.a.hear(PlanChanged(plan_of(A4, both)), 2.0) == [], "and stay as they are from then on"


# Soft SAs and the default response rule


@shows("soft", "softsaexpirationtime")
def test_soft_traffic_goes_in_the_clear_after_three_silent_seconds_for_as_long_as_the_policy_says() -> None:
    network = Network(1)
    text = policy(policy="softsaexpirationtime: 100", action="soft: yes")
    a = network.add("A", A4, Engine(plan_of(A4, text), network.entropy()))
    event = asks(Side(A4, plan_of(A4, text), 1), ping(A4, B4), "all")
    network.at(0.0, a, event)
    network.run(limits.SOFT_WAIT - 0.1)
    assert not a.clear
    network.run(limits.SOFT_WAIT + 0.1)
    (cleared,) = a.clear
    assert cleared[0] == event.reqid
    network.run(limits.SOFT_WAIT + 99.0)
    assert a.clear
    network.run(limits.SOFT_WAIT + 101.0)
    assert not a.clear


RESPONDS = """\
version: 1
policies:
  - name: Client (Respond Only)
    assign: yes
    activatedefaultrule: yes
    defaultrule: {psk: a shared secret of them both, qmpfs: yes}
    rules: []
"""


@shows("activatedefaultrule")
def test_the_default_response_rule_answers_whoever_asks_and_never_asks() -> None:
    network = Network(1)
    a = network.add("A", A4, Engine(plan_of(A4, policy(action="qmpfs: yes")), network.entropy()))
    b = network.add("B", B4, Engine(plan_of(B4, RESPONDS), network.entropy()))
    both = Pair(network, a, b)
    for protect in plan_of(B4, RESPONDS).protect:
        network.tell(b, Initiate(protect.reqid, B4, A4))
    assert b.sent == []
    network.at(0.0, a, asks(Side(A4, plan_of(A4, POLICY), 1), ping(A4, B4), "all"))
    network.settle()
    both.agree()
    assert [selector for _, selector in b.filters] == [Selector(ping(B4, A4).src, ping(B4, A4).dst)]


def with_auth(*secrets: str) -> str:
    """The policy with an ordered list of shared secrets in each rule."""
    listed = ", ".join(f"{{psk: {secret}}}" for secret in secrets)
    return policy().replace("psk: a shared secret of them both", f"auth: [{listed}]")


NEW, OLD, OTHER = "the new secret of them both", "the old secret of them both", "a secret of somebody else"


@shows("psk", "auth")
@pytest.mark.parametrize(
    ("ours", "theirs", "tries"),
    [
        ((NEW, OLD), (NEW, OLD), 1),
        ((NEW, OLD), (OLD,), 2),
        ((OLD,), (NEW, OLD), 1),
        ((OTHER, OTHER + "!", OLD, NEW), (NEW,), 4),
    ],
)
def test_the_initiator_tries_its_methods_in_order_and_the_responder_accepts_any_of_its_own(
    ours: tuple[str, ...], theirs: tuple[str, ...], tries: int
) -> None:
    talk = dialogue(with_auth(*ours), with_auth(*theirs))
    waiting = talk.a.hear(asks(talk.a, ping(A4, B4), "all"), 0.0)
    assert talk.a.hear(asks(talk.a, tcp(A4, B4, 445), "files"), 0.0) == [], "it waits for the same IKE SA"
    effects = [*waiting, *talk.talk(waiting)]
    assert exchanges(effects) == [INIT, AUTH] * tries + [CREATE]
    assert children(talk.a) == children(talk.b) == [2]
    told = [notice for notice in talk.a.notices() if notice.code == "auth-next"]
    assert [notice.fields["method"] for notice in told] == [str(number + 2) for number in range(tries - 1)]
    assert not any(secret in str(talk.a.notices()) for secret in ours)


@shows("psk", "auth")
def test_when_all_methods_are_refused_the_peer_is_left_alone_for_a_while() -> None:
    talk = dialogue(with_auth(NEW, OLD), with_auth(OTHER))
    assert exchanges(pings(talk)) == [INIT, AUTH] * 2
    assert talk.a.told("auth-failed").remedy
    assert exchanges(pings(talk)) == []


@shows("soft")
def test_a_peer_that_refuses_one_method_and_is_silent_to_the_next_gets_no_clear_traffic() -> None:
    soft = with_auth(NEW, OLD).replace("action: negotiate", "action: negotiate\n    soft: yes")
    network = Network(1)
    a = network.add("A", A4, Engine(plan_of(A4, soft), network.entropy()))
    network.add("B", B4, Engine(plan_of(B4, with_auth(OTHER)), network.entropy()))
    network.lose = lambda datagram: datagram.local.address == A4 and "auth-next" in a.codes()
    network.at(0.0, a, asks(Side(A4, plan_of(A4, POLICY), 1), ping(A4, B4), "all"))
    network.run(60.0)
    assert "auth-next" in a.codes()
    assert not a.clear


@shows("forceencapsulation")
def test_esp_in_udp_where_no_nat_is_seen() -> None:
    talk = dialogue(policy(policy="forceencapsulation: yes"), policy())
    pings(talk)
    for side in (talk.a, talk.b):
        assert {one.encap_ports for one in side.installed()} == {(4500, 4500)}
    plain = dialogue(policy())
    pings(plain)
    assert {one.encap_ports for one in plain.a.installed()} == {None}


@shows("kerberos", "rootca")
def test_methods_of_authentication_that_are_not_built_are_never_offered() -> None:
    text = policy().replace("psk: a shared secret", "kerberos: yes, psk: a shared secret")
    talk = dialogue(text, policy())
    pings(talk)
    assert children(talk.a) == [1]
    with pytest.raises(Exception, match="not built yet, and there is no other"):
        plan_of(A4, policy().replace("psk: a shared secret of them both", "rootca: CN=CA"))


@shows("resumption")
def test_tickets_where_both_ends_want_them() -> None:
    for ours, theirs in (("yes", "yes"), ("no", "yes"), ("yes", "no")):
        talk = dialogue(policy(policy=f"resumption: {ours}"), policy(policy=f"resumption: {theirs}"))
        talk.b.hear(TicketKeys((Secret(bytes(32)),)), talk.now)
        pings(talk)
        given = ["ticket" in sa.extensions for sa in talk.a.engine.ike_sas()]
        assert given == [(ours, theirs) == ("yes", "yes")]


@shows("forceencapsulation")
def test_one_end_that_forces_encapsulation_has_esp_in_udp_at_both() -> None:
    talk = dialogue(policy(policy="forceencapsulation: yes"), policy())
    pings(talk)
    assert {sa.encap_ports for side in (talk.a, talk.b) for sa in side.installed()} == {(4500, 4500)}
    plain = dialogue(policy(policy="forceencapsulation: no"), policy())
    pings(plain)
    assert {sa.encap_ports for side in (plain.a, plain.b) for sa in side.installed()} == {None}


# The table


def test_each_word_of_the_table_is_shown_here() -> None:
    text = REFERENCE.read_text()
    section = text[text.index("\n## Windows' words in IKEv2") :].split("\n## ")[1]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert {word for row in rows for word in re.findall(r"`([a-z]+)`", row)} == SHOWN
