# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands read from this host when no daemon is asked: files, secrets, and the facts of the network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Final

from xfrmd.adapters.policy_files import PolicyFiles, read_file
from xfrmd.cli.table import Argument
from xfrmd.compiler.names import is_strict, names_of
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.model.facts import HostFacts
from xfrmd.model.source import Severity
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.given import value_of_word
from xfrmd.policy.resolve import SecretReader, blank
from xfrmd.policy.words import PolicySet


def _word(word: str) -> tuple[str, str]:
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


def policy_files(arguments: argparse.Namespace, first: str) -> PolicyFiles:
    """The policy whose first file is named, with the values that the command line gives."""
    words: dict[str, str] = {}
    for name, value in arguments.var or ():
        if name in words:
            message = f"two values are given for variable {name}"
            raise ControlError("usage", message, "remove one --var", ExitCode.USAGE)
        words[name] = value
    return PolicyFiles(first, words, tuple(arguments.vars or ()))


def policy(
    files: PolicyFiles, read_secret: SecretReader = blank, unused_variable: Severity = Severity.ERROR
) -> PolicySet:
    """A policy, loaded. A secret that cannot be read is a warning: only the daemon needs it."""
    source, sources = files.read()
    sources = replace(sources, unused=unused_variable)
    return load(source, files.first, read_secret, Severity.WARNING, sources)


def script(name: str) -> bytes:
    """The content of a script of another system, "-" for standard input. Raises PolicyError."""
    return read_file(name)


def facts(name: str | None, *policies: PolicySet) -> HostFacts:
    """The facts of a file, else those of this host, with the DNS names of these policies. Raises PolicyError or
    KernelError.
    """
    if name is not None:
        return load_facts(read_file(name), name)
    # Costs a tenth of a second to import, and needs a Linux kernel: only who asks pays.
    from xfrmd.adapters.facts import gather  # noqa: PLC0415

    names = frozenset[str]().union(*map(names_of, policies))
    return gather(names=names, strict=any(map(is_strict, policies)))
