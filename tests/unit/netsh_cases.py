# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for tests, written short, and what becomes of them."""

from __future__ import annotations

import dataclasses

from xfrmd.model.source import Problem, Span
from xfrmd.netsh.exporting import export_script
from xfrmd.netsh.importing import import_script
from xfrmd.netsh.splitting import pieces
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.resolve import blank
from xfrmd.policy.words import Filter, Policy, PolicySet, Rule

FILE = "s.txt"
PSK = "a shared secret of some length"
BASE = f"""\
pushd ipsec static
add filterlist name=smb description="file service"
add filter filterlist=smb srcaddr=me dstaddr=10.1.0.0 dstmask=255.255.0.0 protocol=TCP dstport=445
add filteraction name=require action=negotiate qmsecmethods="ESP[AES256,SHA256]:100000k/900s"
add filteraction name=permit action=permit
add policy name=Servers activatedefaultrule=no assign=yes mmsecmethods=AES256-SHA256-3
add rule name="protect smb" policy=Servers filterlist=smb filteraction=require psk="{PSK}"
"""
"""A script whose policy is whole, in the form that `netsh -f` takes; more commands may follow."""


def imported(script: str | bytes) -> PolicySet:
    """The policies that a script makes."""
    return load(import_script(script, FILE).text, "made.yaml", blank)


def policy_of(script: str | bytes) -> Policy:
    """Its only policy."""
    (found,) = imported(script).policies
    return found


def rule_of(script: str | bytes) -> Rule:
    """The only rule of its only policy."""
    (found,) = policy_of(script).rules
    return found


def filters_of(script: str) -> tuple[Filter, ...]:
    """The filters of its only rule."""
    return rule_of(script).filter_list.filters


def told(script: str | bytes) -> tuple[Problem, ...]:
    """All that is told of a script, good or bad."""
    try:
        return import_script(script, FILE).problems
    except PolicyErrors as errors:
        return errors.problems


def errors_of(script: str | bytes) -> list[str]:
    """Its errors, as "line:column: message"."""
    return [f"{one.at.line}:{one.at.column}: {one.message}" for one in told(script) if one.severity.value == "error"]


def warnings_of(script: str | bytes) -> list[str]:
    """Its warnings, in the same form."""
    return [f"{one.at.line}:{one.at.column}: {one.message}" for one in told(script) if one.severity.value == "warning"]


def placeless(value: object) -> object:
    """A value without the places in it, and without warnings, which are all about places."""
    if isinstance(value, Span):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.compare and field.name != "warnings"]
        return (type(value).__name__, *(placeless(getattr(value, name)) for name in names))
    if isinstance(value, tuple):
        return tuple(placeless(one) for one in value)
    return value


def split(policies: PolicySet) -> PolicySet:
    """Policies with each filter as the filters of netsh that stand for it."""
    made = {
        policy.name: dataclasses.replace(policy, rules=tuple(map(_split, policy.rules))) for policy in policies.policies
    }
    assigned = policies.assigned and made[policies.assigned.name]
    return dataclasses.replace(policies, policies=tuple(made.values()), assigned=assigned)


def _split(rule: Rule) -> Rule:
    filters = tuple(piece for one in rule.filter_list.filters for piece in pieces(one))
    return dataclasses.replace(rule, filter_list=dataclasses.replace(rule.filter_list, filters=filters))


def there_and_back(policies: PolicySet) -> PolicySet:
    """Policies written as a script, and made of that script again."""
    return imported(export_script(policies).text)
