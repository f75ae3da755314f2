# SPDX-License-Identifier: GPL-2.0-or-later
"""`check`: everything that is wrong with a policy file, in one go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from xfrmd.cli import local
from xfrmd.cli.arguments import FACTS, PERSISTENT, POLICY, VARIABLES
from xfrmd.cli.output import Output, problem_json
from xfrmd.cli.table import Command
from xfrmd.compiler import compile_and_check
from xfrmd.control.exits import ExitCode
from xfrmd.credentials.own import ending
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.model.pad import RootcaAuth
from xfrmd.model.secret import SecretRef, SecretSource
from xfrmd.model.source import Problem, Severity
from xfrmd.policy import PolicyErrors
from xfrmd.policy.resolve import blank
from xfrmd.policy.words import PolicySet


def _secrets() -> Callable[[SecretRef], bytes]:
    """Reads the secrets that a check can see. systemd's credentials are there for the daemon's process alone."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    read = secret_reader(directory)

    def careful(ref: SecretRef) -> bytes:
        hidden = ref.source is SecretSource.CREDENTIAL and directory is None
        return blank(ref) if hidden else read(ref)

    return careful


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _answer(file: str, problems: Sequence[Problem], more: dict[str, Any]) -> dict[str, Any]:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    counts = {"errors": errors, "warnings": len(problems) - errors}
    listed = [problem_json(problem) for problem in problems]
    return {"ok": errors == 0, "file": file, **counts, **more, "problems": listed}


def _bad(file: str, problems: Sequence[Problem], output: Output) -> int:
    answer = _answer(file, problems, {})
    counts = f"{_counted(answer['errors'], 'error')}, {_counted(answer['warnings'], 'warning')}"
    output.answer(answer, f"{output.problems_text(problems)}\n{file}: {output.paint(counts, 'error')}")
    return ExitCode.ERROR


def _good(file: str, policies: PolicySet, filters: int, problems: Sequence[Problem], output: Output) -> int:
    names = [policy.name for policy in policies.in_force]
    more = {
        "assigned": policies.assigned.name if policies.assigned else None,
        "persistent": policies.persistent.name if policies.persistent else None,
        "policies": len(policies.policies),
        "specific_filters": filters,
    }
    if names:
        rules = _counted(sum(len(policy.rules) for policy in policies.in_force), "rule")
        what = f"policy {names[0]!r}" if len(names) == 1 else f"policies {' and '.join(map(repr, names))}"
        story = f"{what}, {rules}, {_counted(filters, 'specific filter')} on this host"
    else:
        story = "no policy is assigned"
    warnings = f", {_counted(len(problems), 'warning')}" if problems else ""
    lines = [output.problems_text(problems), f"{file}: {output.paint('good', 'good')}: {story}{warnings}"]
    output.answer(_answer(file, problems, more), "\n".join(line for line in lines if line))
    return ExitCode.OK


def _ending(policies: PolicySet) -> set[Problem]:
    """Certificates and revocation lists of the rules in force that hold no more, or not for much longer."""
    remedy = "put a new one into the file that the rule names, and run xfrmctl reload"
    return {
        Problem(Severity.WARNING, rule.at, told, remedy)
        for policy in policies.in_force
        for rule in policy.rules
        for method in rule.auth
        if isinstance(method, RootcaAuth)
        for told in ending(method, datetime.now(UTC))
    }


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Load and compile; what is wrong is the answer, not an accident."""
    file: str = arguments.policy
    try:
        policies = local.policies(arguments, file, _secrets())
        facts = local.facts(arguments.facts, policies)
    except PolicyErrors as error:
        return _bad(file, error.problems, output)
    checked = compile_and_check(policies, facts)
    problems = sorted(
        {*policies.warnings, *checked.problems, *_ending(policies)}, key=lambda problem: (problem.at, problem.message)
    )
    if any(problem.severity is Severity.ERROR for problem in problems):
        return _bad(file, problems, output)
    return _good(file, policies, len(checked.plan.filters), problems, output)


CHECK: Final = Command(
    "check",
    "say everything that is wrong with a policy file",
    run,
    (POLICY, FACTS, PERSISTENT, *VARIABLES),
    (
        ("xfrmctl check /etc/xfrmd/policy.yaml", "before it is applied"),
        ("xfrmctl --json check policy.yaml --facts host.yaml", "in a pipeline, for another host"),
        ("xfrmctl check policy.yaml --persistent base.yaml", "both together, as they will be in force"),
        ("xfrmctl check fleet.yaml --vars east.yaml --facts east-facts.yaml", "a fleet's policy, for one of its hosts"),
    ),
    "Say everything that is wrong with a policy file: place, problem and remedy of each mistake. Ends with 1 when\n"
    "there is an error; warnings alone end with 0. Secrets that this user cannot read are warnings.",
)
COMMANDS: Final = (CHECK,)
