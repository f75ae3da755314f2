# SPDX-License-Identifier: GPL-2.0-or-later
"""`assign`, `unassign`, `stores`: the policy stores of the running daemon."""

from __future__ import annotations

import argparse
from typing import Any, Final

from xfrmd import limits
from xfrmd.cli import show
from xfrmd.cli.arguments import POLICY, VARIABLES, policy_request
from xfrmd.cli.output import Output
from xfrmd.cli.show_stores import store_lines
from xfrmd.cli.table import Argument, Command
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode

_PERSISTENT: Final = "persistent"
_STORE: Final = Argument(
    ("--store",),
    f"the store: {_PERSISTENT} (which is the default; what the others hold is said in their files)",
    {"choices": (_PERSISTENT, "directory", "local"), "default": _PERSISTENT},
)


def _changed(command: str, request: dict[str, Any], arguments: argparse.Namespace, output: Output) -> int:
    answer = show.refusals_told(lambda: ask(command, request, arguments.control, limits.APPLY_TIMEOUT), output)
    what = f"{answer['store']} store: {'changed' if answer['changed'] else 'nothing to change'}"
    output.answer(answer, f"{what}\n{show.applied(answer, output)}")
    return show.exit_code(answer)


def _assign(arguments: argparse.Namespace, output: Output) -> int:
    return _changed("assign", {**policy_request(arguments), "store": arguments.store}, arguments, output)


def _unassign(arguments: argparse.Namespace, output: Output) -> int:
    return _changed("unassign", {"store": arguments.store}, arguments, output)


def _stores(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("stores", {}, arguments.control)
    output.answer(answer, "\n".join(store_lines(answer["stores"], output)))
    return ExitCode.DEGRADED if any(one["trouble"] for one in answer["stores"]) else ExitCode.OK


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        "assign",
        "let a policy be the persistent one",
        _assign,
        (
            POLICY,
            _STORE,
            *VARIABLES,
            Argument(
                ("--allow-lockout",),
                "also when nobody could reach the management ports then (SSH, or what the policy's config names)",
                {"action": "store_true"},
            ),
        ),
        (
            ("xfrmctl assign /etc/xfrmd/persistent.yaml", "in force from now on, first at every start"),
            (
                "xfrmctl --json assign base.yaml --vars site.yaml",
                "from a program: `changed` says whether it was another",
            ),
        ),
        "Put a policy in force beside whichever other policy applies, and keep it in the state directory: at a\n"
        "start it is in force before anything else is tried, also when the other policy is missing or has\n"
        "errors. Of equally specific filters the persistent one decides. The policy that it replaces stays until\n"
        "the new one is in force and kept. Assigning what is assigned already changes nothing. Ends with 1 when\n"
        "the policy or the kernel refuses, with 11 when it cannot be kept; then nothing has changed.",
    ),
    Command(
        "unassign",
        "have no persistent policy any more",
        _unassign,
        (_STORE,),
        (("xfrmctl unassign", "the other policy stays in force"),),
        "Take the persistent policy out of force, and forget it. Without one nothing changes.",
    ),
    Command(
        "stores",
        "what each policy store holds",
        _stores,
        examples=(("xfrmctl stores", "which policies there are, and which of them are in force"),),
        story="Show for each store its policy, where it is from, the first digits of its checksum, and what is\n"
        "wrong with it, with the remedy. Ends with 5 when something is.",
    ),
)
