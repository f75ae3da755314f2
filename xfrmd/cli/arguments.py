# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import Any, Final

from xfrmd.cli.table import Argument

POLICY: Final = Argument(("policy",), "policy file, - for standard input", {"metavar": "POLICY"})
FACTS: Final = Argument(
    ("--facts",), "facts about the host from this YAML file; without it, those of this host", {"metavar": "FILE"}
)


def _word(word: str) -> tuple[str, str]:
    # Whoever gives a variable gives a policy, and needs its recogniser; no other command does.
    from xfrmd.policy.given import value_of_word  # noqa: PLC0415

    try:
        return value_of_word(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


VARIABLES: Final = (
    Argument(
        ("--var",),
        "value of a variable, in place of the policy's own; may be given several times (secrets: by --vars)",
        {"action": "append", "type": _word, "metavar": "NAME=VALUE"},
    ),
    Argument(
        ("--vars",),
        "values of variables from this YAML file, of which later ones win; may be given several times",
        {"action": "append", "metavar": "FILE"},
    ),
)
PERSISTENT: Final = Argument(
    ("--persistent",),
    "policy file of the persistent store, which applies beside the other and wins where both are equally specific",
    {"metavar": "FILE"},
)


def policy_request(arguments: argparse.Namespace) -> dict[str, Any]:
    """The policy that the command line names and its values, as the control API takes them; with --allow-lockout.

    Raises PolicyError, and ControlError for values that cannot be.
    """
    # Reading a policy's files takes their recogniser, which no other command of the daemon needs.
    from xfrmd.cli.local import policy_files  # noqa: PLC0415

    request = policy_files(arguments, arguments.policy).request()
    if arguments.allow_lockout:
        request["allow_lockout"] = True
    return request
