# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that ask the running daemon."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from typing import Any, Final

from xfrmd import limits
from xfrmd.cli import show
from xfrmd.cli.arguments import POLICY, VARIABLES, policy_request
from xfrmd.cli.output import Output
from xfrmd.cli.show_facts import facts_text
from xfrmd.cli.table import Argument, Command
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode


def _seconds(word: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(word)) <= limits.CONTROL_WAIT:  # never true of NaN
            return value
    raise argparse.ArgumentTypeError(f"{word!r} is not 0 to {limits.CONTROL_WAIT:g} seconds")


def _listed(word: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= (value := int(word)) <= limits.FILTERS_LISTED:
            return value
    raise argparse.ArgumentTypeError(f"{word!r} is not 1 to {limits.FILTERS_LISTED}")


_WAIT: Final = Argument(
    ("--wait",),
    f"wait until it is done, {limits.CONTROL_TIMEOUT:g} s or as many as given",
    {"type": _seconds, "nargs": "?", "const": limits.CONTROL_TIMEOUT, "metavar": "SECONDS"},
)
_SPI: Final = Argument(("spi",), "SPI of an SA as `sas` shows it, or all", {"metavar": "SPI|all"})


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The arguments that were given, as the control API takes them."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _status(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("status", {}, arguments.control)
    output.answer(answer, show.status(answer, time.time(), output))
    return ExitCode.OK if answer["state"] == "running" else ExitCode.DEGRADED


def _sas(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("sas", _given(arguments, "remote", "spi"), arguments.control)
    output.answer(answer, "" if output.json else show.sas(answer, output))
    return ExitCode.OK


def _put(command: str, request: dict[str, Any], arguments: argparse.Namespace, output: Output) -> int:
    answer = show.refusals_told(lambda: ask(command, request, arguments.control, limits.APPLY_TIMEOUT), output)
    output.answer(answer, show.applied(answer, output))
    return show.exit_code(answer)


def _apply(arguments: argparse.Namespace, output: Output) -> int:
    return _put("apply", policy_request(arguments), arguments, output)


def _reload(arguments: argparse.Namespace, output: Output) -> int:
    return _put("reload", {}, arguments, output)


def _outcome(answer: dict[str, Any], done: bool, text: str, arguments: argparse.Namespace, output: Output) -> int:
    """The end of a command that may wait: waiting in vain is an error."""
    late = arguments.wait is not None and not done
    output.answer(answer, f"{text}{' (not within the time given)' if late else ''}")
    return ExitCode.ERROR if late else ExitCode.OK


def _delete(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("delete", _given(arguments, "spi", "wait"), arguments.control)
    return _outcome(answer, answer["gone"], f"{answer['deleted']} SAs deleted", arguments, output)


def _rekey(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("rekey", _given(arguments, "spi", "wait"), arguments.control)
    many = answer["count"] != 1
    doing = "replaced" if answer["done"] else f"{'are' if many else 'is'} being replaced"
    text = f"{answer['count']} SA{'s' if many else ''} {doing}"
    return _outcome(answer, answer["done"], text, arguments, output)


def _initiate(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("initiate", _given(arguments, "remote", "local", "rule", "wait"), arguments.control)
    story = "stands" if answer["established"] else "is being negotiated"
    text = f"SA {answer['local']} - {answer['remote']} of rule {answer['rule']!r} {story}"
    return _outcome(answer, answer["established"], text, arguments, output)


def _counters(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("counters", {}, arguments.control)
    output.answer(answer, show.counters(answer))
    return ExitCode.OK


def _filters(arguments: argparse.Namespace, output: Output) -> int:
    request = {**_given(arguments, "top"), "unused": arguments.unused}
    answer = ask("filters", request, arguments.control, limits.APPLY_TIMEOUT)
    output.answer(answer, show.filters(answer, output))
    return ExitCode.OK


def _facts(arguments: argparse.Namespace, output: Output) -> int:
    answer = ask("facts", {}, arguments.control)
    output.answer(answer, facts_text(answer, time.time(), output))
    return ExitCode.OK


def _whole(arguments: argparse.Namespace, output: Output) -> int:
    """Commands whose answer is one object that reads well as it is."""
    answer = ask(arguments.command, {}, arguments.control)
    output.answer(answer, json.dumps(answer, indent=2, ensure_ascii=False))
    return ExitCode.OK


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        "status",
        "policy, kernel, SAs, failing peers",
        _status,
        examples=(("xfrmctl status", "is the policy in force, and which peers fail"),),
        story="Show the policy in force, whether the kernel is equal to it, and peers that fail, with both sides'\n"
        "offers and the remedy. Ends with 5 when degraded.",
    ),
    Command(
        "sas",
        "IKE SAs and child SAs",
        _sas,
        (
            Argument(
                ("spi",),
                "SPI of an IKE SA or a child SA, of either end: this IKE SA alone",
                {"metavar": "SPI", "nargs": "?"},
            ),
            Argument(("--remote",), "SAs with this peer alone", {"metavar": "ADDRESS"}),
        ),
        (("xfrmctl sas", "who is connected, and how"), ("xfrmctl sas --remote 10.1.0.2", "one peer of thousands")),
        "Show each IKE SA with the identity of its peer, its rule and algorithms, and below it its child SAs:\n"
        "SPIs, what they carry, how much they have carried, and when they are replaced. Of one peer or SPI the\n"
        "daemon sends no more than that.",
    ),
    Command(
        "apply",
        "put a policy file in force",
        _apply,
        (
            POLICY,
            *VARIABLES,
            Argument(
                ("--allow-lockout",),
                "also when nobody could reach the management ports then (SSH, or what the policy's config names)",
                {"action": "store_true"},
            ),
        ),
        (
            ("xfrmctl apply policy.yaml", "until the daemon is started again or told to reload"),
            ("xfrmctl apply fleet.yaml --vars east.yaml", "a policy of many hosts, with the values of this one"),
        ),
        "Put a policy file in force. A policy with an error changes nothing: every problem is told, and the running\n"
        "policy stays. The files that it includes are read here and sent along.",
    ),
    Command(
        "reload",
        "read the daemon's policy file again",
        _reload,
        examples=(("xfrmctl reload", "after the policy file was changed"),),
        story="Read the policy file of the daemon's command line again, with the files that it includes and its\n"
        "variables, and put it in force as `apply` does. Also puts right what others have changed in the\n"
        "kernel.",
    ),
    Command(
        "initiate",
        "negotiate without waiting for traffic",
        _initiate,
        (
            Argument(("remote",), "address of the peer", {"metavar": "ADDRESS"}),
            Argument(("--local",), "address of ours, when there are several", {"metavar": "ADDRESS"}),
            Argument(("--rule",), "name of the rule, when several fit", {"metavar": "NAME"}),
            _WAIT,
        ),
        (("xfrmctl initiate --wait 10 10.1.0.2", "stand or fail within 10 s"),),
        "Negotiate SAs with a peer now, as its first packet would. Of a tunnel the peer is the far gateway.\n"
        "With --wait it ends with 1 when no SA stands then, and tells what failed.",
    ),
    Command(
        "rekey",
        "replace an SA now",
        _rekey,
        (Argument(("spi",), "SPI of an SA as `sas` shows it, all, or ike", {"metavar": "SPI|all|ike"}), _WAIT),
        (
            ("xfrmctl rekey --wait c1a2b3d4", "a child SA"),
            ("xfrmctl rekey all", "all child SAs"),
            ("xfrmctl rekey ike", "all IKE SAs"),
        ),
        "Make new keys for an IKE SA or a child SA. The old SA stays until the new one carries the traffic: no\n"
        "packet is lost. Of many, 256 are replaced at a time. With --wait it ends with 1 when one of the old is still\n"
        "there then.",
    ),
    Command(
        "delete",
        "delete SAs and tell the peer",
        _delete,
        (_SPI, _WAIT),
        (("xfrmctl delete all", "every SA"),),
        "Delete an IKE SA with its child SAs, one child SA, or all, and tell the peer. The policy stays: the\n"
        "next packet that it protects waits for a new SA. Tickets of a deleted IKE SA are of no use any more; with\n"
        "all, neither is any other that was given before.",
    ),
    Command(
        "counters",
        "every counter that is not 0",
        _counters,
        examples=(("xfrmctl counters", "what was held, dropped, refused, and why"),),
        story="Show packets by fate, datagrams of IKE that were dropped and why, and errors of XFRM, since the daemon\n"
        "started. What the kernel counts goes on when the daemon is started again.",
    ),
    Command(
        "filters",
        "packets and octets by filter",
        _filters,
        (
            Argument(
                ("--top",),
                f"list so many filters, {limits.FILTERS_SHOWN} by default, {limits.FILTERS_LISTED:,} at most",
                {"type": _listed, "metavar": "N"},
            ),
            Argument(("--unused",), "list filters that have decided no packet", {"action": "store_true"}),
        ),
        (
            ("xfrmctl filters --top 5", "which filters decide most"),
            ("xfrmctl filters --unused --top 1000", "which decide nothing"),
        ),
        "Show the filters of the policies in force that decided most packets, or none, with their rule, filter list\n"
        "and place, and sums over all filters. Counts outlive changes of the policy, as long as what decides stays.\n"
        "A packet that this host sends in the clear counts twice where a policy negotiates: before it could be\n"
        "held, and when it leaves. Clear traffic of soft SAs and of default responses is not in it.",
    ),
    Command(
        "facts",
        "what the daemon knows of this host, and from where",
        _facts,
        examples=(("xfrmctl facts", "what stands behind me, dns-servers, dhcp-server and DNS names"),),
        story="Show what stands behind the words and DNS names of the policy in force: addresses, gateways, servers\n"
        "and names, each with the file it was read from; of names, when they are asked for again and why they\n"
        "could not be resolved. The `facts` of --json have the keys of a facts file (--facts FILE).",
    ),
    Command(
        "plan",
        "the compiled plan in force, in JSON",
        _whole,
        examples=(("xfrmctl plan", "what xfrmctl compile --json would say of the policy in force"),),
        story="Print all that the policy in force means on this host: specific filters by weight, security policies,\n"
        "what is negotiated, peers, nftables. Secrets are not in it.",
    ),
)
