# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy becomes a script of netsh ipsec static that decides every packet alike, or what netsh cannot say is told."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from xfrmd.model.pad import AuthMethod, PskAuth, RootcaAuth
from xfrmd.model.proposals import Proposal
from xfrmd.model.source import Problem, Span
from xfrmd.netsh import sayable, splitting
from xfrmd.netsh.listing import User, write_list
from xfrmd.netsh.outgoing import Outgoing, flag
from xfrmd.policy.boot import exemptions_text
from xfrmd.policy.problems import Problems, quoted
from xfrmd.policy.tables import MM_MINUTES, SOFT_SECONDS
from xfrmd.policy.words import (
    Action,
    Config,
    ConnectionType,
    DefaultResponse,
    FilterAction,
    FilterList,
    Policy,
    PolicySet,
    Rule,
    Unresolved,
)

_HEADER: Final = "# For netsh -f. It adds to a store in which these names are free."
_KILOBYTES, _SECONDS = 20_480, 300
"""The shortest lifetimes that Windows is known to take."""
N = TypeVar("N", FilterList, FilterAction, Policy)


class Exported(NamedTuple):
    """A script, and what is to be told about it."""

    text: str
    problems: tuple[Problem, ...]


def export_script(policies: PolicySet) -> Exported:
    """The script that says what policies say: imported again, it makes policies that decide every packet alike.

    Raises PolicyErrors with all that netsh cannot say.
    """
    problems = Problems(policies.policies[0].at.file)
    script = Outgoing(problems)
    _write(policies, script)
    problems.check()
    return Exported("\n".join(script.lines) + "\n", problems.sorted())


def _write(policies: PolicySet, script: Outgoing) -> None:
    """All commands, objects before what refers to them."""
    script.lines += [_HEADER, "pushd ipsec static"]
    users: dict[int, list[User]] = {}
    for policy in policies.policies:
        rivals = splitting.Rivals(policy)
        for rule in policy.rules:
            users.setdefault(id(rule.filter_list), []).append(User(rule, rivals))
    rules = [rule for policy in policies.policies for rule in policy.rules]
    for one in _named([rule.filter_list for rule in rules], "filter list", script):
        write_list(one, users[id(one)], script)
    for action in _named([rule.filter_action for rule in rules], "filter action", script):
        _action(action, script)
    for policy in _named(list(policies.policies), "policy", script):
        _policy(policy, script, assigned=policy is policies.assigned)
    script.lines.append("popd")
    _config(policies.config, policies.policies[0].at, script)


def _named(objects: list[N], kind: str, script: Outgoing) -> list[N]:
    """Each object once, in the order of the file. Two may not have one name, as netsh reads names."""
    found: dict[str, N] = {}
    for one in sorted(objects, key=lambda one: one.at):
        first = found.setdefault(one.name.casefold(), one)
        if first is not one:
            message = f"{kind}s {quoted(first.name)} and {quoted(one.name)} have the same name for netsh"
            script.problems.error(one.at, message, "give each a name that differs in more than capital letters")
    return list(found.values())


def _config(config: Config, at: Span, script: Outgoing) -> None:
    settings = {"ipsecexempt": str(config.ipsecexempt)} if config.ipsecexempt != Config().ipsecexempt else {}
    if config.bootmode is not None:
        settings["bootmode"] = config.bootmode.value
    if config.bootexemptions:
        settings["bootexemptions"] = f'"{exemptions_text(config.bootexemptions)}"'
    if config.strongcrlcheck != Config().strongcrlcheck:
        settings["strongcrlcheck"] = str(config.strongcrlcheck)
    for name, value in settings.items():
        script.lines.append(f"ipsec dynamic set config property={name} value={value}")
    if config.on_stop is not Config().on_stop or config.mirror_blocks != Config().mirror_blocks:
        message = "netsh has neither on_stop nor mirror_blocks: they are left out"
        script.problems.warning(at, message, "Windows opens when its service is stopped, and has one filter engine")
    if config.management != Config().management or config.allow_lockout:
        message = "netsh has neither management nor allow_lockout: they are left out"
        script.problems.warning(at, message, "nothing is to be done: they guard this host against its own policy")


def _action(one: FilterAction, script: Outgoing) -> None:
    script.command(
        "add filteraction",
        one.at,
        name=script.text(one.at, one.name, "the name of this filter action"),
        description=script.text(one.at, one.description, "the description of this filter action"),
        action=one.action.value,
        qmpfs=flag(one.qmpfs),
        inpass=flag(one.inpass),
        soft=flag(one.soft),
        qmsecmethods=_quick_methods(one.qmsecmethods, one.at, script) if one.action is Action.NEGOTIATE else "",
    )


def _quick_methods(proposals: tuple[Proposal, ...], at: Span, script: Outgoing) -> str:
    if sayable.are_default_quick(proposals):
        _tell_defaults(at, script)
        return ""
    if any(one.lifetime.kilobytes < _KILOBYTES or one.lifetime.seconds < _SECONDS for one in proposals):
        least = f"{_KILOBYTES}k/{_SECONDS}s"
        message = f"Windows may refuse a lifetime below {least}"
        script.once(script.problems.warning, at, message, f"write {least} or more")
    return script.said(at, sayable.quick_methods, proposals)


def _tell_defaults(at: Span, script: Outgoing) -> None:
    message = "no methods are named, so Windows takes its own, 3DES and SHA1, which this host does not accept"
    remedy = "name methods that both have: ESP[3DES,SHA1] and 3DES-SHA1-3, under allow_weak: yes"
    script.once(script.problems.warning, at, message, remedy)


def _policy(policy: Policy, script: Outgoing, *, assigned: bool) -> None:
    name = script.text(policy.at, policy.name, "the name of this policy")
    _check_policy(policy, script)
    minutes = policy.mmsecmethods[0].lifetime.seconds // 60
    script.command(
        "add policy",
        policy.at,
        name=name,
        description=script.text(policy.at, policy.description, "the description of this policy"),
        mmpfs=flag(policy.mmpfs),
        qmpermm=str(policy.qmpermm) if policy.qmpermm and not policy.mmpfs else "",
        mmlifetime="" if minutes == MM_MINUTES else str(minutes),
        activatedefaultrule="no" if policy.default_response is None else "yes",
        mmsecmethods=_main_methods(policy, script),
    )
    if policy.default_response is not None:
        _default_response(policy.default_response, name, script)
    for rule in sorted(policy.rules, key=lambda rule: (rule.at, rule.name)):
        _rule(rule, name, script)
    if assigned:
        script.command("set policy", policy.at, name=name, assign="yes")


def _main_methods(policy: Policy, script: Outgoing) -> str:
    negotiates = any(rule.filter_action.action is Action.NEGOTIATE for rule in policy.rules)
    if not sayable.are_default_main(policy.mmsecmethods):
        return script.said(policy.at, sayable.main_methods, policy.mmsecmethods)
    if negotiates or policy.default_response is not None:
        _tell_defaults(policy.at, script)
    return ""


def _check_policy(policy: Policy, script: Outgoing) -> None:
    if policy.soft_seconds != SOFT_SECONDS:
        remedy = f"remove it: it is {SOFT_SECONDS} seconds then, in both"
        script.problems.error(policy.at, "netsh ipsec static has no softsaexpirationtime", remedy)
    if policy.auth_seconds:
        remedy = "remove it: Windows authenticates anew with each main mode, as mmlifetime says"
        script.problems.error(policy.at, "netsh has no mmauthlifetime", remedy)
    if policy.forceencapsulation:
        remedy = "remove it: Windows encapsulates where it sees a NAT"
        script.problems.error(policy.at, "netsh has no forceencapsulation", remedy)
    if policy.resumption:
        script.problems.error(policy.at, "netsh has no resumption", "remove it: Windows has no tickets for IKE SAs")
    if policy.unresolved is not Unresolved.KEEP:
        remedy = "remove it, and write addresses where a name may fail"
        script.problems.error(policy.at, "netsh has no unresolved: block", remedy)


def _default_response(response: DefaultResponse, policy: str, script: Outgoing) -> None:
    script.command(
        "set defaultrule",
        response.at,
        policy=policy,
        qmpfs=flag(response.qmpfs),
        activate="yes",
        qmsecmethods=_quick_methods(response.qmsecmethods, response.at, script),
        psk=_secrets(response.auth, response.at, script),
    )


def _secrets(auth: tuple[AuthMethod, ...], at: Span, script: Outgoing) -> str:
    """Shared secrets, the best first: the tag stands once for each."""
    if any(isinstance(one, RootcaAuth) for one in auth):
        remedy = "leave certificates out, or write rootca= with the authority's name by hand"
        script.problems.error(at, "a rootca with files is not written as netsh has it", remedy)
    return " psk=".join(script.said(at, sayable.secret, one.secret) for one in auth if isinstance(one, PskAuth))


def _rule(rule: Rule, policy: str, script: Outgoing) -> None:
    if rule.ppk is not None:
        script.problems.error(rule.at, "netsh has no ppk", "remove ppk: Windows knows no such keys")
    for key in ("local_id", "remote_id"):
        if getattr(rule, key) is not None:
            script.problems.error(rule.at, f"netsh has no {key}", f"remove {key}: Windows shows its IP address")
    if rule.redirects or rule.redirect_to is not None:
        remedy = "remove redirects and redirect_to: Windows does not follow them"
        script.problems.error(rule.at, "netsh has no redirects", remedy)
    script.command(
        "add rule",
        rule.at,
        name=script.text(rule.at, rule.name, "the name of this rule"),
        policy=policy,
        # Their names were looked at where they stand.
        filterlist=sayable.in_marks(rule.filter_list.name),
        filteraction=sayable.in_marks(rule.filter_action.name),
        tunnel="" if rule.tunnel is None else str(rule.tunnel),
        conntype="" if rule.conntype is ConnectionType.ALL else rule.conntype.value,
        activate="" if rule.active else "no",
        description=script.text(rule.at, rule.description, "the description of this rule"),
        psk=_secrets(rule.auth, rule.at, script),
    )
