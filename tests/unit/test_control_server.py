# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket from both ends: answers, refusals, hostile and slow clients."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir
from types import MappingProxyType

import pytest

from xfrmd import limits
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import COMMANDS, ControlError, Json, checked, request
from xfrmd.daemon.answers import Parts, entries, pieces
from xfrmd.daemon.server import ControlServer, listen
from xfrmd.errors import KernelError

Scenario = Callable[[Path], Awaitable[None]]


async def answer(command: str, arguments: Json) -> Json:
    if command == "delete":
        raise ControlError("unknown-spi", "no such SA", "see xfrmctl sas", details={"spi": arguments["spi"]})
    if command == "reload":
        raise RuntimeError("a fault of ours")
    if command == "counters":
        raise KernelError("nftables: other programs change it all the time")
    if command == "facts":
        return {"facts": {"big": "x" * 8_000_000}}
    return {"version": command, "pid": 1, "since": 0.0}


def served(
    tmp_path: Path,
    scenario: Scenario,
    allowed: Callable[[socket.socket], bool] = lambda _: True,
    patience: float = 5.0,
    longest: int = 1 << 24,
    lists: Mapping[str, Callable[[], Parts]] = MappingProxyType({}),
) -> list[str]:
    """Run a scenario against a server; the exceptions it told of. `lists`: what it answers to `sas`."""
    told: list[str] = []

    async def answered(command: str, arguments: Json) -> Json:
        if command == "sas":
            return {name: made() for name, made in lists.items()}
        return await answer(command, arguments)

    async def run() -> None:
        path = tmp_path / "control.sock"
        server = ControlServer(
            answered, lambda where, error: told.append(f"{where}: {error}"), allowed, patience, longest
        )
        await server.start(listen(path))
        try:
            await scenario(path)
        finally:
            await server.stop()

    asyncio.run(run())
    return told


async def refused(path: Path, command: str, arguments: Json) -> ControlError:
    with pytest.raises(ControlError) as caught:
        await asyncio.to_thread(ask, command, arguments, str(path))
    return caught.value


async def raw(path: Path, octets: bytes) -> Json:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 26)
    writer.write(octets)
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    parsed: Json = json.loads(line)
    return parsed


def hung_up(sock: socket.socket) -> bool:
    """Did the other end close, within 5 s, though nothing was read?"""
    poll = select.poll()
    poll.register(sock, 0)
    return [event & select.POLLHUP for _, event in poll.poll(5000)] == [select.POLLHUP]


def test_a_request_is_answered(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        assert await asyncio.to_thread(ask, "version", {}, str(path)) == {"version": "version", "pid": 1, "since": 0.0}

    assert served(tmp_path, scenario) == []


def test_a_refusal_keeps_code_remedy_exit_and_details(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        error = await refused(path, "delete", {"spi": "00000001"})
        assert (error.code, str(error), error.remedy, error.exit_code) == (
            "unknown-spi",
            "no such SA",
            "see xfrmctl sas",
            ExitCode.ERROR,
        )
        assert error.details == {"spi": "00000001"}

    served(tmp_path, scenario)


def test_a_fault_in_a_command_is_told_and_the_server_lives_on(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        assert (await refused(path, "reload", {})).code == "internal"
        await asyncio.to_thread(ask, "version", {}, str(path))

    assert served(tmp_path, scenario) == ["control: a fault of ours"]


def test_what_the_kernel_refuses_is_said_and_is_no_fault_of_ours(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        error = await refused(path, "counters", {})
        assert error.code == "kernel"
        assert "other programs change it all the time" in str(error)
        assert error.remedy

    assert served(tmp_path, scenario) == []


def test_strangers_are_refused_before_they_are_read(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        error = await refused(path, "version", {})
        assert (error.code, error.exit_code) == ("not-authorised", ExitCode.NOT_AUTHORISED)

    served(tmp_path, scenario, allowed=lambda _: False)


APPLY = b'{"schema": 1, "command": "apply", "arguments": {"text": "", "file": "", %s}}\n'


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"[]\n",
        b'{"schema": 2, "command": "version"}\n',
        b'{"schema": 1, "command": "fly"}\n',
        b'{"schema": 1, "command": ["version"]}\n',
        b'{"schema": 1, "command": "version", "arguments": []}\n',
        b'{"schema": 1, "command": "version", "arguments": {"x": 1}}\n',
        b'{"schema": 1, "command": "delete", "arguments": {}}\n',
        b'{"schema": 1, "command": "delete", "arguments": {"spi": 5}}\n',
        b'{"schema": 1, "command": "delete", "arguments": {"spi": "all", "wait": -1}}\n',
        b'{"schema": 1, "command": "delete", "arguments": {"spi": "all", "wait": true}}\n',
        b'{"schema": 1, "command": "delete", "arguments": {"spi": "all", "wait": NaN}}\n',
        APPLY % b'"files": ["a.yaml"]',
        APPLY % b'"files": {"a.yaml": ["x"]}',
        APPLY % b'"files": {"a.yaml": null}',
        APPLY % b'"files": {"": "x"}',
        APPLY % (b'"files": {"%s": ""}' % (b"x" * 5000)),
        APPLY % (b'"files": {%s}' % b", ".join(b'"f%d": ""' % number for number in range(300))),
        APPLY % b'"variables": "a=b"',
        APPLY % b'"variables": {"a": 5}',
        APPLY % b'"variables": {"a": []}',
        APPLY % b'"variables": {"a": [["b"]]}',
        APPLY % b'"variables": {"a": {"b": "c"}}',
        APPLY % (b'"variables": {%s}' % b", ".join(b'"v%d": ""' % number for number in range(5000))),
    ],
)
def test_what_does_not_fit_the_table_is_a_usage_error(tmp_path: Path, octets: bytes) -> None:
    async def scenario(path: Path) -> None:
        message = await raw(path, octets)
        assert message["schema"] == 1
        assert message["ok"] is False
        assert message["error"]["exit"] == ExitCode.USAGE

    assert served(tmp_path, scenario) == []


def test_a_request_without_end_is_cut_off(tmp_path: Path) -> None:
    """CVE-2018-5388: a length on the control socket that was believed."""

    async def scenario(path: Path) -> None:
        assert (await raw(path, b"x" * 5000))["error"]["code"] == "too-long"

    served(tmp_path, scenario, longest=1000)


def test_silent_and_slow_clients_are_cut_off_and_hold_up_nobody(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        silent, slow = (socket.socket(socket.AF_UNIX) for _ in range(2))
        silent.connect(str(path))
        slow.connect(str(path))
        slow.sendall(json.dumps(request("facts", {})).encode() + b"\n")
        await asyncio.to_thread(ask, "version", {}, str(path))
        for sock in (silent, slow):
            assert await asyncio.to_thread(hung_up, sock)
            sock.close()

    served(tmp_path, scenario, patience=0.3)


def test_words_that_are_no_unicode_come_back_as_they_were(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        error = await refused(path, "delete", {"spi": "\ud800 \udcff ä"})
        assert error.details == {"spi": "\ud800 \udcff ä"}

    assert served(tmp_path, scenario) == []


def test_only_the_owner_and_group_may_open_the_socket(tmp_path: Path) -> None:
    sock = listen(tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    with pytest.raises(OSError, match="in use"):
        listen(tmp_path / "s")
    sock.close()
    listen(tmp_path / "s").close()  # a dead one is replaced


def test_no_daemon_is_its_own_exit_code(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as caught:
        ask("status", {}, str(tmp_path / "none"))
    assert caught.value.exit_code == ExitCode.NOT_RUNNING


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_not_authorised_by_the_credentials_of_its_process(tmp_path: Path) -> None:
    # The directory and socket are opened to all, so that the credentials alone decide.
    directory = tmp_path / "open"
    directory.mkdir()
    for parent in takewhile(lambda path: path != Path(gettempdir()), (directory, *directory.parents)):
        parent.chmod(parent.stat().st_mode | 0o055)

    async def run() -> int:
        server = ControlServer(answer, print)
        await server.start(listen(directory / "s"))
        (directory / "s").chmod(0o666)
        program = (
            "import os,socket,sys; os.setgid(65534); os.setuid(65534);"
            "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.exit(b'not-authorised' not in s.recv(999))"
        )
        process = await asyncio.create_subprocess_exec("/usr/bin/python3", "-c", program, str(directory / "s"))
        code = await process.wait()
        await server.stop()
        return code

    assert asyncio.run(run()) == 0


def test_every_command_of_the_table_accepts_its_required_arguments() -> None:
    for command in COMMANDS:
        values: dict[type, object] = {str: "x", bool: True, dict: {"a": "b"}}
        arguments = {a.name: values.get(a.kind, 1) for a in command.arguments}
        assert checked(request(command.name, arguments)) == (command, arguments)


def test_files_and_values_may_come_along() -> None:
    arguments = {"text": "", "file": "", "files": {"a.yaml": "x"}, "variables": {"a": "b", "c": ["d", "e"]}}
    assert checked(request("apply", arguments))[1] == arguments
    assert checked(request("diff", arguments))[1] == arguments


def line(message: Json) -> list[bytes]:
    async def made() -> list[bytes]:
        return [piece async for piece in pieces(message)]

    return asyncio.run(made())


def entry(number: int) -> Json:
    return {"spi": f"{number:08x}", "name": 'a "quoted" é'}


def test_a_long_answer_is_the_same_line_in_pieces_of_few_entries() -> None:
    for length in (0, 1, limits.SHOWN_AT_ONCE, limits.SHOWN_AT_ONCE + 1, 3 * limits.SHOWN_AT_ONCE):
        listed = [*map(entry, range(length))]
        message: Json = {"schema": 1, "ok": True, "answer": {"before": [1], "sas": listed, "after": {}}}
        found = line(message)
        assert b"".join(found) == json.dumps(message, separators=(",", ":")).encode() + b"\n"
        assert all(piece.count(b"spi") <= limits.SHOWN_AT_ONCE for piece in found)


async def parts(*counts: int) -> Parts:
    for count in counts:
        yield entries([*map(entry, range(count))])


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (2,), (2, 0, 3), (0, 1)])
def test_a_list_that_is_made_meanwhile_is_one_list(counts: tuple[int, ...]) -> None:
    listed = [entry(number) for count in counts for number in range(count)]
    message: Json = {"schema": 1, "ok": True, "answer": {"a": 1, "first": parts(*counts), "then": parts(1), "z": [2]}}
    assert json.loads(b"".join(line(message)))["answer"] == {"a": 1, "first": listed, "then": [entry(0)], "z": [2]}


def test_of_a_long_list_no_more_is_made_than_its_reader_takes_and_it_ends_with_him(tmp_path: Path) -> None:
    made, ended = 0, asyncio.Event()

    async def endless() -> Parts:
        nonlocal made
        try:
            while True:
                made += 1
                yield b"7," * 32767 + b"7"
        finally:
            ended.set()

    async def scenario(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            slow.sendall(json.dumps(request("sas", {})).encode() + b"\n")
            await asyncio.to_thread(ask, "version", {}, str(path))
            await asyncio.wait_for(ended.wait(), 5)
            assert await asyncio.to_thread(hung_up, slow)
        assert 0 < made < 100  # 64 KiB each: what the socket holds

    assert served(tmp_path, scenario, patience=0.3, lists={"ike_sas": endless}) == []


def test_others_have_their_turn_between_the_parts_of_a_list(tmp_path: Path) -> None:
    made, seen = 0, set[int]()

    async def long() -> Parts:
        nonlocal made
        for _ in range(100):
            made += 1
            yield b"7"

    async def scenario(path: Path) -> None:
        asked = asyncio.create_task(asyncio.to_thread(ask, "sas", {}, str(path)))
        while not asked.done():
            await asyncio.sleep(0)
            seen.add(made)
        assert await asked == {"ike_sas": [7] * 100}
        assert len(seen) > 100

    assert served(tmp_path, scenario, lists={"ike_sas": long}) == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [(RuntimeError("a fault of ours"), ["control: a fault of ours"]), (KernelError("no buffer space"), [])],
    ids=["of ours", "of the kernel"],
)
def test_a_fault_in_a_list_that_is_made_meanwhile_ends_its_answer_alone(
    tmp_path: Path, fault: Exception, told: list[str]
) -> None:
    async def broken() -> Parts:
        yield b"1"
        raise fault

    async def scenario(path: Path) -> None:
        error = await refused(path, "sas", {})
        assert (error.code, error.exit_code) == ("broken-off", ExitCode.ERROR)
        assert "journalctl" in error.remedy
        await asyncio.to_thread(ask, "version", {}, str(path))

    assert served(tmp_path, scenario, lists={"ike_sas": broken}) == told
