# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys of a policy file, object by object. One truth for parser, JSON Schema and reference."""

from __future__ import annotations

from typing import Any, Final

from xfrmd.model.pad import CRL_IF_KNOWN
from xfrmd.policy.authentication import FIELDS as AUTHENTICATION
from xfrmd.policy.authentication import METHOD
from xfrmd.policy.boot import BOOT_EXEMPTIONS, BOOT_MODE
from xfrmd.policy.certificates import RECORDS as CERTIFICATES
from xfrmd.policy.certificates import STRONG_CRL_CHECK
from xfrmd.policy.filters import FILTER, FILTERS
from xfrmd.policy.identities import IDENTITY, PPK, PPK_SECRET, SECRET
from xfrmd.policy.includes import INCLUDE
from xfrmd.policy.kinds import FLAG, Kind, integer, list_of, text, word
from xfrmd.policy.methods import (
    DEFAULT_MAIN,
    DEFAULT_MAIN_METHODS,
    DEFAULT_QUICK,
    DEFAULT_QUICK_METHODS,
    MAIN_METHODS,
    QUICK_METHODS,
)
from xfrmd.policy.problems import BAD, Problems
from xfrmd.policy.records import Field, Later, Read, Record
from xfrmd.policy.tunnels import GATEWAY, TUNNEL
from xfrmd.policy.variables import VARIABLES
from xfrmd.policy.words import Action, BootMode, ConnectionType, FilterAction, OnStop, Unresolved

VERSION: Final = 1
NAME: Final = text("a name", 1, 255)
MM_MINUTES: Final = 480
"""Lifetime of a main mode SA as in Windows."""
SOFT_SECONDS: Final = 300
"""Lifetime of a soft SA as in Windows."""
_ACTIONS: Final = {action.value: action for action in Action}
_CONNECTIONS: Final = {kind.value: kind for kind in ConnectionType}
_UNRESOLVED: Final = {choice.value: choice for choice in Unresolved}
_DESCRIPTION: Final = Field(
    "description", text(lines=True), "free text", default="", shown="empty", netsh="description"
)


def _name(of: str) -> Field:
    return Field("name", NAME, f"name of the {of}, once in the file", required=True, netsh="name")


def _version_kind() -> Kind:
    number = integer(0, 999)

    def read(node: Any, problems: Problems) -> Any:
        value = number.read(node, problems)
        if value is not BAD and value != VERSION:
            return problems.error(node, f"version {value} of the language is not known here", f"write {VERSION}")
        return value

    return Kind(str(VERSION), {"const": VERSION}, read)


FILTER_LIST: Final = Record(
    "filter list",
    "Filters under one name, for any number of rules.",
    (
        _name("filter list"),
        Field("filters", FILTERS, "the filters; their order has no meaning", required=True),
        _DESCRIPTION,
    ),
)


def _build_action(read: Read, problems: Problems) -> Any:
    if read["action"] in (Action.PERMIT, Action.BLOCK):
        for key in ("qmsecmethods", "qmpfs", "inpass", "soft"):
            if read.given(key) and read[key]:
                message = f"{key} has no meaning with action: {read['action'].value}"
                problems.warning(read.place(key), message, f"remove {key}, or write action: negotiate")
    return read


FILTER_ACTION: Final = Record(
    "filter action",
    "What is done with the packets of a filter list.",
    (
        _name("filter action"),
        Field(
            "action",
            word(_ACTIONS),
            "permit: let pass; block: drop; negotiate: protect by ESP or AH",
            default=Action.NEGOTIATE,
            shown="negotiate",
            netsh="action",
        ),
        Field(
            "qmsecmethods",
            QUICK_METHODS,
            "how packets are protected, the best first: ESP[cipher,integrity]:KBk/Ss, or AH[integrity]:KBk/Ss",
            default=DEFAULT_QUICK_METHODS,
            shown=" ".join(DEFAULT_QUICK),
            netsh="qmsecmethods",
        ),
        Field("qmpfs", FLAG, "a key exchange of its own for each quick mode", default=False, shown="no", netsh="qmpfs"),
        Field(
            "inpass",
            FLAG,
            "let clear packets in, but protect every answer",
            default=False,
            shown="no",
            netsh="inpass",
        ),
        Field(
            "soft",
            FLAG,
            "fall back to clear with a peer that does not answer IKE at all",
            default=False,
            shown="no",
            netsh="soft",
        ),
        _DESCRIPTION,
    ),
    build=_build_action,
)

RULE: Final = Record(
    "rule",
    "A filter list, the action for it, and how peers prove who they are.",
    (
        Field("name", NAME, "name of the rule, once in its policy", required=True, netsh="name"),
        Field("filterlist", NAME, "name of a filter list", required=True, netsh="filterlist"),
        Field("filteraction", NAME, "name of a filter action", required=True, netsh="filteraction"),
        *AUTHENTICATION,
        Field("tunnel", TUNNEL, "end of the tunnel that packets take", shown="none: transport mode", netsh="tunnel"),
        Field(
            "redirects",
            list_of(GATEWAY, "gateways"),
            "gateways to which the one at the far end may send us, none if not named",
            default=(),
            shown="none",
        ),
        Field("redirect_to", GATEWAY, "gateway to which we send those who come by this tunnel", shown="none"),
        Field("local_id", IDENTITY, "identity this host shows", shown="its IP address"),
        Field("remote_id", IDENTITY, "identity the peer must show", shown="its IP address"),
        Field("ppk", PPK.kind(), "a postquantum preshared key, beside what authenticates", shown="none"),
        Field(
            "conntype",
            word(_CONNECTIONS),
            "interfaces that me stands for: all, lan or dialup",
            default=ConnectionType.ALL,
            shown="all",
            netsh="conntype",
        ),
        Field("activate", FLAG, "no: keep the rule, but do not use it", default=True, shown="yes", netsh="activate"),
        _DESCRIPTION,
    ),
)

DEFAULT_RULE: Final = Record(
    "default response rule",
    "How peers that no rule names are answered. It never begins a negotiation, and never blocks.",
    (
        *AUTHENTICATION,
        Field(
            "qmsecmethods",
            QUICK_METHODS,
            "how packets are protected, the best first",
            default=DEFAULT_QUICK_METHODS,
            shown=" ".join(DEFAULT_QUICK),
            netsh="qmsecmethods",
        ),
        Field("qmpfs", FLAG, "a key exchange of its own for each quick mode", default=False, shown="no", netsh="qmpfs"),
    ),
)

POLICY: Final = Record(
    "policy",
    "Rules and the settings of main mode. One policy of a file may be assigned.",
    (
        _name("policy"),
        Field(
            "rules",
            list_of(RULE.kind(), "rules", empty=True),
            "the rules; their order has no meaning. None beside an active default response rule alone",
            required=True,
        ),
        Field("assign", FLAG, "yes: this policy is in force", default=False, shown="no", netsh="assign"),
        Field(
            "mmsecmethods",
            MAIN_METHODS,
            "how IKE itself is protected, the best first: encryption-hash-group",
            default=DEFAULT_MAIN_METHODS,
            shown=" ".join(DEFAULT_MAIN),
            netsh="mmsecmethods",
        ),
        Field(
            "mmlifetime",
            integer(1, 2_879, "minutes"),
            "minutes until IKE makes new keys",
            default=MM_MINUTES,
            shown=str(MM_MINUTES),
            netsh="mmlifetime",
        ),
        Field(
            "mmauthlifetime",
            integer(0, 525_600, "minutes"),
            "minutes until both ends authenticate anew, 0: as long as their certificates hold",
            default=0,
            shown="0",
        ),
        Field(
            "qmpermm",
            integer(0, 65_535),
            "quick modes under one main mode, 0 for no limit",
            default=0,
            shown="0",
            netsh="qmpermm",
        ),
        Field("mmpfs", FLAG, "yes: one quick mode per main mode", default=False, shown="no", netsh="mmpfs"),
        Field(
            "forceencapsulation",
            FLAG,
            "yes: ESP travels in UDP port 4500 even where no NAT is seen, for paths that drop ESP",
            default=False,
            shown="no",
        ),
        Field(
            "resumption",
            FLAG,
            "yes: an IKE SA that one end has lost goes on from a ticket, where both ends want that",
            default=False,
            shown="no",
        ),
        Field(
            "activatedefaultrule",
            FLAG,
            "yes: answer peers that no rule names, as defaultrule says",
            default=False,
            shown="no",
            netsh="activatedefaultrule",
        ),
        Field("defaultrule", DEFAULT_RULE.kind(), "the default response rule", netsh="set defaultrule"),
        Field(
            "softsaexpirationtime",
            integer(10, 172_799, "seconds"),
            "seconds that a fallback to clear lasts",
            default=SOFT_SECONDS,
            shown=str(SOFT_SECONDS),
            netsh="softsaexpirationtime",
        ),
        Field(
            "unresolved",
            word(_UNRESOLVED),
            "DNS names without an address: keep the last ones, or block",
            default=Unresolved.KEEP,
            shown="keep",
        ),
        _DESCRIPTION,
    ),
    (
        Later("pollinginterval", "asking a directory for a newer policy", "remove it"),
        Later("gponame", "assigning through a directory", "remove it and write assign: yes"),
    ),
)

_CONFIG_LATER: Final = "remove it"


def _build_config(read: Read, problems: Problems) -> Any:
    if read["bootmode"] is BootMode.PERMIT and read.given("bootexemptions"):
        message = "bootexemptions mean nothing here, as bootmode: permit lets everything pass"
        problems.warning(read.place("bootexemptions"), message, "remove them, or write bootmode: stateful")
    return read


CONFIG: Final = Record(
    "configuration",
    "Settings of the computer, beside its policies.",
    (
        Field(
            "ipsecexempt",
            integer(0, 3),
            "what passes ahead of all filters, beside what the protection itself needs",
            default=3,
            shown="3, which is IKE alone",
            netsh="set config property=ipsecexempt",
        ),
        Field(
            "management",
            list_of(integer(1, 65535), "ports", empty=True),
            "TCP ports by which the host is managed: a policy that closes one to everybody is refused",
            default=(22,),
            shown="[22]",
        ),
        Field("allow_lockout", FLAG, "such a policy is meant: it is warned of only", default=False, shown="no"),
        Field(
            "mirror_blocks",
            FLAG,
            "what is blocked is blocked in XFRM too, where that costs little, and so holds when nftables is flushed",
            default=True,
            shown="yes",
        ),
        Field(
            "on_stop",
            word({one.value: one for one in OnStop}),
            "what becomes of the policy in the kernel when the service is stopped",
            default=OnStop.KEEP,
            shown="keep, which goes on enforcing it",
        ),
        Field(
            "bootmode",
            BOOT_MODE,
            "what passes from the start of the system until a policy is in force",
            shown="stateful once a policy was ever assigned, permit before",
            netsh="set config property=bootmode",
        ),
        Field(
            "bootexemptions",
            BOOT_EXEMPTIONS,
            "what passes then in any case, with the answers to it",
            default=(),
            shown="none",
            netsh="set config property=bootexemptions",
        ),
        Field(
            "strongcrlcheck",
            STRONG_CRL_CHECK,
            "the same of every rootca that does not say it itself",
            default=CRL_IF_KNOWN,
            shown="1",
            netsh="set config property=strongcrlcheck",
        ),
    ),
    (
        Later("ipsecdiagnostics", "choosing what is logged", "remove it; see xfrmd run --debug"),
        Later("ipsecloginterval", "choosing how often is logged", _CONFIG_LATER),
    ),
    build=_build_config,
)

DOCUMENT: Final = Record(
    "policy file",
    "Policies of xfrmd: Windows' IPsec policy model.",
    (
        Field("version", _version_kind(), f"version of the language: {VERSION}", required=True),
        Field("policies", list_of(POLICY.kind(), "policies"), "the policies", shown="**required** in one of the files"),
        Field(
            "filterlists",
            list_of(FILTER_LIST.kind(), "filter lists"),
            "the filter lists",
            shown="**required** in one of the files",
        ),
        Field(
            "filteractions",
            list_of(FILTER_ACTION.kind(), "filter actions"),
            "the filter actions",
            shown="**required** in one of the files",
        ),
        Field("include", INCLUDE, "files whose objects and variables count as if they stood here", shown="none"),
        Field("variables", VARIABLES, "values for ${name} in other values", shown="none"),
        Field(
            "allow_weak",
            FLAG,
            "yes: Windows Server 2003's algorithms may stand in methods, and be negotiated as far as they can be",
            default=False,
            shown="no",
        ),
        Field("config", CONFIG.kind(), "settings of the computer", shown="those of Windows Server 2003"),
    ),
)
RECORDS: Final = (
    DOCUMENT,
    POLICY,
    DEFAULT_RULE,
    RULE,
    METHOD,
    SECRET,
    PPK,
    PPK_SECRET,
    *CERTIFICATES,
    FILTER_LIST,
    FILTER,
    FILTER_ACTION,
    CONFIG,
)


def filter_action(read: Read) -> FilterAction:
    """The filter action that was read; only for a whole one."""
    negotiate = read["action"] is Action.NEGOTIATE
    methods = read["qmsecmethods"].proposals if negotiate else ()
    return FilterAction(
        name=read["name"],
        action=read["action"],
        at=read.at,
        qmsecmethods=methods,
        qmpfs=negotiate and read["qmpfs"],
        inpass=negotiate and read["inpass"],
        soft=negotiate and read["soft"],
        description=read["description"],
    )
