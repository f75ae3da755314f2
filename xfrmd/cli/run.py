# SPDX-License-Identifier: GPL-2.0-or-later
"""`xfrmd run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from xfrmd.adapters.journal import Journal, system_sink
from xfrmd.adapters.policy_files import PolicyFiles
from xfrmd.cli.arguments import VARIABLES
from xfrmd.cli.local import policy_files
from xfrmd.cli.output import Output
from xfrmd.cli.table import Argument, Command
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.daemon.main import serve
from xfrmd.daemon.opening import open_host
from xfrmd.daemon.parts import Settings, StartError
from xfrmd.errors import KernelError
from xfrmd.model.notice import Level, Notice


def _directory(arguments: argparse.Namespace) -> PolicyFiles | None:
    """The file that stands for the directory."""
    return PolicyFiles(str(Path(arguments.directory).absolute())) if arguments.directory is not None else None


def _policy(arguments: argparse.Namespace) -> PolicyFiles | None:
    """The policy that the command line names, by absolute names: a reload must find the same files."""
    if arguments.policy is None:
        if arguments.var or arguments.vars:
            raise ControlError("usage", "--var and --vars need a policy", "add --policy FILE", ExitCode.USAGE)
        return None
    files = policy_files(arguments, str(Path(arguments.policy).absolute()))
    return replace(files, files=tuple(str(Path(name).absolute()) for name in files.files))


def _run(arguments: argparse.Namespace, output: Output) -> int:
    """Run in the foreground until SIGTERM. Why a start failed goes where all notices go, and decides the exit code."""
    del output
    journal = Journal(system_sink(os.environ), Level.DEBUG if arguments.debug else Level.INFO)
    settings = Settings(
        policy=_policy(arguments),
        directory=_directory(arguments),
        control=Path(arguments.control),
        environ=os.environ,
    )
    try:
        return asyncio.run(serve(settings, journal))
    except StartError as error:
        journal.tell(Notice(Level.ERROR, "start-failed", str(error)))
        return error.exit_code


def _open(arguments: argparse.Namespace, output: Output) -> int:
    """Refused while a daemon answers: it would put back at once what goes."""
    if Path(arguments.control).is_socket():
        try:
            ask("status", {}, arguments.control)
        except ControlError:
            pass  # a socket that a dead daemon left behind
        else:
            message = f"a daemon serves {arguments.control} and would put back what is removed"
            raise ControlError("busy", message, "stop it first, or xfrmctl apply a policy with nothing assigned")
    try:
        removed = open_host()
    except KernelError as error:
        raise ControlError("kernel-refused", str(error), "run it as root, or with CAP_NET_ADMIN") from error
    text = f"removed {removed.sas} SAs, {removed.policies} XFRM policies and the nftables tables of xfrmd"
    output.answer(removed._asdict(), f"{text}\nnothing is filtered or protected until the daemon starts again")
    return ExitCode.OK


COMMANDS: Final[tuple[Command, ...]] = (
    Command(
        "open",
        "remove everything of xfrmd from the kernel, without the daemon",
        _open,
        (),
        (("systemctl stop xfrmd; xfrmd open", "open a host that the policy of a dead daemon keeps closed"),),
        "Remove SAs, XFRM policies and the nftables tables of xfrmd, those of the boot filter among them. What was\n"
        "protected goes in the clear then, what was blocked passes. Nothing of others is touched.",
    ),
    Command(
        "run",
        "run the daemon in the foreground",
        _run,
        (
            Argument(("--policy",), "policy file to put in force; without it, none", {"metavar": "FILE"}),
            *VARIABLES,
            Argument(
                ("--directory",),
                "file that stands for the directory: a policy that is assigned in it takes the place of --policy",
                {"metavar": "FILE"},
            ),
            Argument(("--debug",), "tell more", {"action": "store_true"}),
        ),
        (("xfrmd run --policy /etc/xfrmd/policy.yaml", "as its systemd unit does"),),
        "Put the policy in force, negotiate keys as traffic asks for them, and answer xfrmctl. SIGHUP reads the\n"
        "policy again, with the files that it includes and those of --vars.\n"
        "SIGTERM stops: what the policy blocks stays blocked, and SAs stay for the next run to go on with. SIGINT,\n"
        "and SIGTERM where no service manager holds a key for that, tell peers that SAs end.",
    ),
)
