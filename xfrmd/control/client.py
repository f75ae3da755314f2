# SPDX-License-Identifier: GPL-2.0-or-later
"""The client end of the control socket: one request, one answer, synchronous and small."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
from collections.abc import Mapping
from typing import Any, Final

from xfrmd import limits
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import SOCKET, ControlError, Json, request

_AT_ONCE: Final = 65536
"""Octets that are read in one call."""


def ask(
    command: str, arguments: Mapping[str, Any], path: str = SOCKET, timeout: float = limits.CONTROL_TIMEOUT
) -> Json:
    """Send one request and return its answer. Raises ControlError when refused, or when no daemon answers.

    `timeout` is for each step in seconds; a request that waits is given that time on top.
    """
    patience = timeout + float(arguments.get("wait") or 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(patience)
        try:
            sock.connect(path)
            with contextlib.suppress(BrokenPipeError):  # refused in the middle: the answer says why
                sock.sendall(json.dumps(request(command, arguments)).encode() + b"\n")
            octets = _line(sock)
        except PermissionError as error:
            message = f"{path} may be used by root and the daemon's own user only"
            raise ControlError("not-authorised", message, "run it as root", ExitCode.NOT_AUTHORISED) from error
        except TimeoutError as error:
            message = f"the daemon did not answer within {patience:g} s"
            raise ControlError("timeout", message, "see journalctl -u xfrmd", ExitCode.ERROR) from error
        except OSError as error:
            raise _not_running(path) from error
    return _answer(octets, path)


def _line(sock: socket.socket) -> bytearray:
    """All up to the end of a line, or of the stream. An answer about 10,000 peers is 11 MB."""
    line = bytearray()
    while some := sock.recv(_AT_ONCE):
        begin, end, _ = some.partition(b"\n")
        line += begin
        line += end
        if end:
            break
    return line


def _not_running(path: str) -> ControlError:
    message = f"xfrmd is not running (nothing answers on {path})"
    return ControlError(
        "not-running", message, "systemctl start xfrmd, or name its socket with --control", ExitCode.NOT_RUNNING
    )


def _parsed(octets: bytearray) -> Any:
    """What is in JSON, which makes no cycles: without the collector, who would look for them in all of it again and
    again. ValueError.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return json.loads(octets)
    finally:
        if was_on:
            gc.enable()


def _answer(octets: bytearray, path: str) -> Json:
    if not octets:
        raise _not_running(path)
    if not octets.endswith(b"\n"):
        raise ControlError("broken-off", "the daemon broke its answer off", "try again, or see journalctl -u xfrmd")
    try:
        message = _parsed(octets)
        if message["ok"]:
            answer: Json = message["answer"]
            return answer
        error = dict(message["error"])
    except (ValueError, KeyError, TypeError) as wrong:
        text = f"what answers on {path} is not xfrmd"
        raise ControlError("not-xfrmd", text, "name the socket of xfrmd with --control") from wrong
    details = {k: v for k, v in error.items() if k not in ("code", "message", "remedy", "exit")}
    raise ControlError(
        error.get("code", "error"), error.get("message", ""), error.get("remedy", ""), error.get("exit", 1), details
    )
