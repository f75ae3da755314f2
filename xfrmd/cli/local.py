# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands read from this host when no daemon is asked: files, secrets, and the facts of the network."""

from __future__ import annotations

import argparse
from dataclasses import replace

from xfrmd.adapters.policy_files import PolicyFiles, read_file
from xfrmd.compiler.names import is_strict, names_of
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.model.facts import HostFacts
from xfrmd.model.source import Problem, Severity
from xfrmd.model.store import Store
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.resolve import SecretReader, blank
from xfrmd.policy.stores import merge
from xfrmd.policy.words import PolicySet


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


def policies(
    arguments: argparse.Namespace,
    first: str,
    read_secret: SecretReader = blank,
    unused_variable: Severity = Severity.ERROR,
) -> PolicySet:
    """A policy, and beside it the persistent one that the command line names. Raises PolicyErrors with the problems of
    both.
    """
    files = policy_files(arguments, first)
    if arguments.persistent is None:
        return policy(files, read_secret, unused_variable)
    found: dict[Store, PolicySet] = {}
    problems: list[Problem] = []
    # A value may be meant for the other policy alone.
    for store, one in ((Store.LOCAL, files), (Store.PERSISTENT, replace(files, first=arguments.persistent))):
        try:
            found[store] = policy(one, read_secret, Severity.WARNING)
        except PolicyErrors as error:
            problems += error.problems
    if problems:
        raise PolicyErrors(tuple(problems))
    return merge(found)


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
