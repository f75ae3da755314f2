# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators are told: who, by which rule, what both sides want, and what to do about it."""

from __future__ import annotations

from typing import Final

from xfrmd.credentials.names import spoken
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.demand import WantKey
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.pad import PskAuth, RootcaAuth
from xfrmd.model.proposals import ProtocolId

_MODULES: Final = {ProtocolId.ESP: "esp4 esp6", ProtocolId.AH: "ah4 ah6"}
"""Of the kernel."""
THEIR_JOURNAL: Final = "the peer's journal says what it wants"


def auth_failed(sa: IkeSa, reason: str) -> Notice:
    """The peer did not prove what it had to, as we see it."""
    return Notice(
        Level.WARNING,
        "auth-failed",
        f"authentication of {peer(sa)} failed (rule {sa.pad.rule!r}): {reason}; "
        f"we are {_local(sa)}, it says to be {spoken(sa.remote_id)}",
        who(sa) | {"reason": reason},
        _same_credentials(sa),
    )


def _local(sa: IkeSa) -> str:
    return spoken(sa.local_id) if sa.local_id is not None else str(sa.local.address)


def _same_credentials(sa: IkeSa) -> str:
    remedies = [
        "give the rule the same preshared key on both hosts, and identities that match",
        "let each end trust the authority of the other's certificate, and let the certificates carry the identities",
    ]
    kinds = (PskAuth, RootcaAuth)
    return "; or ".join(
        cure for kind, cure in zip(kinds, remedies, strict=True) if any(isinstance(one, kind) for one in sa.pad.auth)
    )


def own_certificate(sa: IkeSa, why: str) -> Notice:
    """Our own certificate is not one that peers take now."""
    return Notice(
        Level.WARNING,
        "own-certificate",
        f"our own certificate is no proof now (rule {sa.pad.rule!r}): {why}",
        who(sa) | {"reason": why},
        "put a new certificate into the file that the policy names, and run xfrmctl reload; is the clock right?",
    )


def no_proof(sa: IkeSa, why: str) -> Notice:
    """We have nothing by which this peer would believe us."""
    return Notice(
        Level.WARNING,
        "auth-failed",
        f"we cannot prove ourselves to {sa.remote.address} (rule {sa.pad.rule!r}): {why}",
        who(sa) | {"reason": why},
        "let the peer's IKE use RFC 7427 signatures, or give this host a certificate with a key of another kind",
    )


def auth_refused(sa: IkeSa, notify: int) -> Notice:
    """The peer says that we did not prove what we had to."""
    answer = NotifyType(notify).name
    return Notice(
        Level.WARNING,
        "auth-failed",
        f"{peer(sa)} answers {answer} (rule {sa.pad.rule!r}): we said to be {_local(sa)} "
        f"and expected {spoken(sa.remote_id, 'whoever its certificate names')}",
        who(sa) | {"answer": answer},
        f"{_same_credentials(sa)}; {THEIR_JOURNAL}",
    )


def auth_next(sa: IkeSa, number: int) -> Notice:
    """The peer refused a method of authentication; the rule has another, which is the `number`-th."""
    count = len(sa.pad.auth)
    return Notice(
        Level.INFO,
        "auth-next",
        f"{sa.remote.address} refuses method {number - 1} of {count} (rule {sa.pad.rule!r}): trying method {number}",
        who(sa) | {"method": str(number)},
        "put the method first that the peer has, or give the peer the first one",
    )


def no_answer(sa: IkeSa, hint: Notice | None) -> Notice:
    """The peer did not answer, or only with what anyone could have sent (`hint`)."""
    if hint is not None:
        return Notice(hint.level, hint.code, f"gave up: {hint.message}", hint.fields, hint.remedy)
    return Notice(
        Level.WARNING,
        "no-answer",
        f"{sa.remote} does not answer IKE from {sa.local} (rule {sa.pad.rule!r}, state {sa.state.value})",
        who(sa),
        "is the peer up, does IKE run there, and may UDP ports 500 and 4500 and ESP pass between the hosts?",
    )


def peer_down(sa: IkeSa) -> Notice:
    """An established peer fell silent."""
    return Notice(
        Level.WARNING,
        "peer-down",
        f"{sa.remote} stopped answering; its SAs are removed, traffic is held until it is back (rule {sa.pad.rule!r})",
        who(sa),
        "nothing to do if the peer is down on purpose: traffic to it negotiates again",
    )


def peer_crashed(sa: IkeSa) -> Notice:
    """The peer has shown by its token that it no longer has the SAs."""
    return Notice(
        Level.NOTICE,
        "peer-crashed",
        f"{sa.remote} has lost its SAs (it has shown the token of this IKE SA); they are negotiated anew, traffic is "
        f"held meanwhile (rule {sa.pad.rule!r})",
        who(sa),
        "nothing to do; the peer's journal says why it has started without them",
    )


def behind_one_nat(sa: IkeSa, other: IkeSa) -> Notice:
    """Two hosts behind one NAT want the same traffic."""
    ours, theirs = spoken(sa.remote_id), spoken(other.remote_id)
    if ours == theirs:
        ours, theirs = f"{ours} at port {sa.remote.port}", f"another one of that name at port {other.remote.port}"
    return Notice(
        Level.WARNING,
        "behind-one-nat",
        f"{ours} is behind the same NAT ({sa.remote.address}) as {theirs}, whose SA carries this traffic already"
        f" (rule {sa.pad.rule!r}); it is refused",
        {"peer": str(sa.remote.address), "rule": sa.pad.rule, "ours": ours, "theirs": theirs},
        "give each host behind the NAT a tunnel to a network of its own, or filters by different ports of this host",
    )


def remapped(child: ChildSa, remote: Endpoint) -> Notice:
    """The NAT in front of a peer gives it another port."""
    return Notice(
        Level.INFO,
        "nat-mapping",
        f"the NAT before {remote.address} has another port for it, {remote.port}: ESP follows",
        {"peer": str(remote.address), "local": str(child.local), "port": str(remote.port)},
    )


def no_rule(local: Address, remote: Address) -> Notice:
    """A stranger wants to negotiate."""
    return Notice(
        Level.WARNING,
        "no-rule",
        f"{remote} wants to negotiate with {local}, but no negotiate rule speaks of these addresses",
        {"peer": str(remote), "local": str(local)},
        "give one of the active rules a filter for this peer, or take this host out of the peer's policy",
    )


def malformed(sa: IkeSa, why: str) -> Notice:
    """An authenticated peer does not keep to the protocol."""
    return Notice(
        Level.WARNING,
        "protocol-error",
        f"{sa.remote} breaks the protocol: {why}",
        who(sa),
        "report it to the maker of the peer's IKE",
    )


def ended_by_error(sa: IkeSa, notify: int) -> Notice:
    """The peer has answered what we sent, or told us, by an error that ends an IKE SA without more words."""
    answer = NotifyType(notify).name
    return Notice(
        Level.WARNING,
        "ended-by-error",
        f"{peer(sa)} says {answer} (rule {sa.pad.rule!r}), which ends the IKE SA: it could not read what we sent",
        who(sa) | {"answer": answer},
        f"{THEIR_JOURNAL}; then report it to the makers of both",
    )


def ike_up(sa: IkeSa) -> Notice:
    """Both are authenticated."""
    found, suite = who(sa), str(sa.suite)
    text = f"IKE SA with {found['peer']} ({found['remote_id']}) established: {suite}"
    return Notice(Level.INFO, "ike-up", text, found | {"spi": sa.spi.hex(), "suite": suite})


def ike_rekeyed(sa: IkeSa) -> Notice:
    """A new IKE SA took the place of an old one."""
    return Notice(Level.INFO, "ike-rekeyed", f"IKE SA with {sa.remote.address} rekeyed: {sa.suite}", who(sa))


def ike_down(sa: IkeSa, why: str) -> Notice:
    """An IKE SA ended."""
    return Notice(Level.INFO, "ike-down", f"IKE SA with {sa.remote.address} ended: {why}", who(sa))


def child_up(sa: IkeSa, child: ChildSa) -> Notice:
    """Traffic is protected from now on."""
    return Notice(
        Level.INFO,
        "child-up",
        f"{_protects(child)} by {child.suite}",
        who(sa) | _child(child),
    )


def child_rekeyed(sa: IkeSa, child: ChildSa) -> Notice:
    """Traffic is protected by new keys."""
    return Notice(Level.INFO, "child-rekeyed", f"rekeyed: {_protects(child)} by {child.suite}", who(sa) | _child(child))


def adopted(ike_sas: int, child_sas: int) -> Notice:
    """SAs of an earlier run go on."""
    text = f"{ike_sas} IKE SAs and {child_sas} SA pairs of the run before go on"
    return Notice(Level.INFO, "adopted", text, {"ike_sas": str(ike_sas), "child_sas": str(child_sas)})


def child_down(child: ChildSa, why: str) -> Notice:
    """Traffic is no longer protected, so it is held."""
    return Notice(Level.INFO, "child-down", f"SA pair {child.spi_in:08x} ended: {why}", _child(child))


def filter_added(child: ChildSa, seconds: int) -> Notice:
    """The default response rule has made a filter of what a peer asked for."""
    return Notice(
        Level.INFO,
        "default-response",
        f"the default response rule protects {_traffic(child)} and its answers, as {child.remote} has asked for; "
        f"until {seconds} s after its last SA",
        _child(child),
    )


def install_failed(child: ChildSa, reason: str) -> Notice:
    """The kernel refused an SA."""
    return Notice(
        Level.ERROR,
        "sa-refused",
        f"the kernel refused an SA with {child.remote} ({child.suite}): {reason}",
        _child(child),
        f"does the kernel have {child.protocol.name} and these algorithms (modprobe {_MODULES[child.protocol]})? "
        "See `xfrmctl status`",
    )


def hold_off(sa: IkeSa, what: str, why: str) -> Notice:
    """A rekey did not work out; it is tried again."""
    return Notice(
        Level.WARNING,
        "rekey-failed",
        f"{what} with {sa.remote.address} could not be rekeyed yet: {why}",
        who(sa),
        "nothing to do if it works the next time; both sides' methods must stay compatible",
    )


def soft_opened(key: WantKey, rule: str, seconds: int) -> Notice:
    """Traffic that a rule wants protected goes in the clear, because the rule allows it."""
    return Notice(
        Level.WARNING,
        "soft-opened",
        f"{key.remote} does not answer IKE: {key.region} and its answers go IN THE CLEAR for {seconds} s, "
        f"as rule {rule!r} allows",
        _soft(key, rule) | {"seconds": str(seconds)},
        "set up IPsec at the peer; or say `soft: no` in the filter action, and traffic with it is blocked instead",
    )


def soft_closed(key: WantKey, why: str) -> Notice:
    """No more clear traffic."""
    return Notice(
        Level.NOTICE,
        "soft-closed",
        f"{key.region} and its answers go in the clear no longer: {why}",
        _soft(key, ""),
    )


def soft_refused(key: WantKey, rule: str, why: str) -> Notice:
    """Traffic that could go in the clear does not."""
    return Notice(
        Level.WARNING,
        "soft-refused",
        f"{key.remote} does not answer IKE, but {key.region} cannot go in the clear: {why} (rule {rule!r})",
        _soft(key, rule),
        "set up IPsec at the peer, or give the hosts that have none a permit filter",
    )


def _soft(key: WantKey, rule: str) -> dict[str, str]:
    found = {"peer": str(key.remote), "local": str(key.local), "reqid": str(key.reqid), "traffic": str(key.region)}
    return found | ({"rule": rule} if rule else {})


def suspect(address: Address) -> Notice:
    """A host, or others of its network, begins IKE SAs of which nothing comes."""
    return Notice(
        Level.WARNING,
        "suspect-host",
        f"{address}, or others of its network, began many negotiations of which nothing came: it may begin few",
        {"peer": str(address)},
        "look at what runs there; if they are honest peers, their journals say why they do not go on",
    )


def peer(sa: IkeSa) -> str:
    """The peer by its address, and whose IKE it seems to have."""
    vendor = sa.lineage.vendor
    return f"{sa.remote.address} ({vendor})" if vendor else str(sa.remote.address)


def who(sa: IkeSa) -> dict[str, str]:
    """The fields that every notice about an IKE SA has."""
    found = {
        "peer": str(sa.remote.address),
        "local": str(sa.local.address),
        "rule": sa.pad.rule,
        "local_id": spoken(sa.local_id),
        "remote_id": spoken(sa.remote_id),
    }
    return found | ({"vendor": sa.lineage.vendor} if sa.lineage.vendor else {})


def _child(child: ChildSa) -> dict[str, str]:
    origin = child.agreed.protect.origin
    return {
        "spi_in": f"{child.spi_in:08x}",
        "spi_out": f"{child.spi_out:08x}",
        "reqid": str(child.reqid),
        "filter_list": origin.filter_list,
        "rule": origin.rule,
        "peer": str(child.remote),
        "local": str(child.local),
        "suite": str(child.suite),
        "traffic": _traffic(child),
    }


def _protects(child: ChildSa) -> str:
    return f"SA pair {child.spi_in:08x}/{child.spi_out:08x} protects {_traffic(child)}"


def _traffic(child: ChildSa) -> str:
    return ", ".join(map(str, child.selectors))
