# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame of both programs: options before and behind the command, exit codes, JSON, colours, quiet ends."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xfrmd import __version__, limits
from xfrmd.cli.output import Output
from xfrmd.cli.program import run
from xfrmd.cli.table import Argument, Command, Program
from xfrmd.cli.xfrmctl import PROGRAM
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import SOCKET, ControlError
from xfrmd.errors import KernelError, PolicyError

ROOT = Path(__file__).parents[2]
START = "import sys; from xfrmd.cli.xfrmctl import main; sys.exit(main())"


def toy(action: Callable[[argparse.Namespace, Output], int]) -> Program:
    row = Command(
        "act",
        "do it",
        action,
        (Argument(("words",), "words", {"nargs": "*"}), Argument(("--deep",), "deeply", {"action": "store_true"})),
        (("toy act", "does it"),),
        words="words",
    )
    return Program("toy", 1, "a toy", "A toy.", (row,), (("toy act", "does it"),))


def fail(error: Exception) -> Program:
    def action(arguments: argparse.Namespace, output: Output) -> int:
        raise error

    return toy(action)


@pytest.mark.parametrize("words", [["--json", "--control", "/s", "act"], ["act", "--json", "--control", "/s"]])
def test_common_options_stand_before_and_behind_the_command(words: list[str]) -> None:
    seen = []

    def action(arguments: argparse.Namespace, output: Output) -> int:
        seen.append((output.json, arguments.control, arguments.color))
        return 0

    assert run(toy(action), words) == 0
    assert run(toy(action), ["act"]) == 0
    assert seen == [(True, "/s", "auto"), (False, SOCKET, "auto")]


def test_words_behind_options_belong_to_the_command_too() -> None:
    seen: list[list[str]] = []

    def action(arguments: argparse.Namespace, output: Output) -> int:
        seen.append([str(arguments.deep), *arguments.words])
        return 0

    for words in (["a", "--deep", "b=1", "c=2"], ["--deep", "a", "b=1", "c=2"], ["a", "b=1", "c=2", "--deep"]):
        assert run(toy(action), ["act", *words]) == 0
    assert seen == [["True", "a", "b=1", "c=2"]] * 3


@pytest.mark.parametrize("words", [["nothing"], ["act", "--shallow"], ["act", "a", "--deep", "b", "--shallow"]])
def test_a_refused_command_line_is_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fail(AssertionError()), ["--json", *words]) == ExitCode.USAGE
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert (error["code"], error["exit"]) == ("usage", 2)
    assert "--help" in error["remedy"]
    assert told.err == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("file", "code"), [("config/request.yaml", 0), ("/dev/null", 1)])
def test_closed_streams_change_no_exit_code(closed: str, file: str, code: int) -> None:
    words = [sys.executable, "-c", START, "check", "--facts", "config/facts.yaml", file]
    done = subprocess.run(f"{shlex.join(words)} {closed}", shell=True, capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize("words", [[], ["nothing"], ["act", "--shallow"], ["act", "a", "--deep", "b", "--shallow"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(fail(AssertionError()), words)
    assert ended.value.code == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: toy" in told.err


ERRORS = [
    (PolicyError("file: gone"), 1, "file: gone"),
    (KernelError("no ESP"), 1, "no ESP"),
    (ControlError("not-running", "xfrmd is not running", "start it", ExitCode.NOT_RUNNING), 3, "xfrmd is not running"),
    (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
]


@pytest.mark.parametrize(("error", "code", "text"), ERRORS, ids=[type(row[0]).__name__ for row in ERRORS])
def test_errors_are_told_once_and_choose_the_exit_code(
    error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fail(error), ["act"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {text}\n")
    if isinstance(error, ControlError):
        assert told.err.endswith("    remedy: start it\n")
    assert run(fail(error), ["act", "--json"]) == code
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert (answer["schema"], answer["ok"], answer["error"]["message"]) == (1, False, text)
    assert told.err == ""


def test_an_answer_is_json_with_a_schema_number_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    def action(arguments: argparse.Namespace, output: Output) -> int:
        output.answer({"count": 1, "name": "ä"}, "one")
        output.say("talk")
        return ExitCode.DEGRADED

    assert run(toy(action), ["act"]) == 5
    assert capsys.readouterr() == ("one\n", "talk\n")
    assert run(toy(action), ["act", "--json"]) == 5
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "count": 1, "name": "ä"}


@pytest.mark.parametrize("count", [0, limits.SHOWN_AT_ONCE, limits.SHOWN_AT_ONCE + 1])
def test_json_is_laid_out_and_entries_of_long_lists_have_a_line_each(count: int) -> None:
    data = io.StringIO()
    value: dict[str, Any] = {
        "before": {"a": ["ü\n", {}]},
        "sas": [{"name": f"n\n{number}"} for number in range(count)],
        "after": None,
    }
    Output(data, io.StringIO(), json=True).answer(value, "")
    assert json.loads(data.getvalue()) == {"schema": 1, **value}
    short = {"schema": 1, **value} if count <= limits.SHOWN_AT_ONCE else {"schema": 1, **value, "sas": [0]}
    laid_out = json.dumps(short, indent=2, ensure_ascii=False)
    entries = ",\n    ".join(json.dumps(entry) for entry in value["sas"])
    assert data.getvalue() == (laid_out if short["sas"] != [0] else laid_out.replace("    0", f"    {entries}")) + "\n"


@pytest.mark.parametrize(("choice", "painted"), [("always", True), ("never", False), ("auto", False)])
def test_colours(choice: str, painted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def action(arguments: argparse.Namespace, output: Output) -> int:
        output.answer({}, output.paint("x", "error"))
        return 0

    run(toy(action), ["--color", choice, "act"])
    assert capsys.readouterr().out == ("\033[1;31mx\033[0m\n" if painted else "x\n")


def on_a_terminal(env: dict[str, str]) -> str:
    """What `xfrmctl check` of a bad file prints on a terminal."""
    master, slave = os.openpty()
    program = [sys.executable, "-c", START, "check", "--facts", "/dev/null", "/dev/null"]
    subprocess.run(program, stdout=slave, stderr=slave, cwd=ROOT, env={**os.environ, **env}, check=False)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    return seen.decode()


def test_a_terminal_has_colours_unless_told_otherwise() -> None:
    assert "\033[" in on_a_terminal({"TERM": "xterm", "NO_COLOR": ""})
    assert "\033[" not in on_a_terminal({"TERM": "xterm", "NO_COLOR": "1"})
    assert "\033[" not in on_a_terminal({"TERM": "dumb", "NO_COLOR": ""})


def test_a_log_of_the_mistakes_has_no_colours() -> None:
    master, slave = os.openpty()
    program = [sys.executable, "-c", START, "compile", "--facts", "/dev/null", "/dev/null"]
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": ""}
    done = subprocess.run(program, stdout=slave, stderr=subprocess.PIPE, cwd=ROOT, env=env, check=False)
    os.close(slave)
    os.close(master)
    assert done.stderr.startswith(b"/dev/null:1:1: error: ")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (["--version"], f"xfrmctl {__version__}\n"),
        (["--help"], "exit codes:"),
        (["check", "--help"], "examples:"),
    ):
        with pytest.raises(SystemExit) as ended:
            run(PROGRAM, words)
        assert ended.value.code == 0
        assert text in capsys.readouterr().out


def test_every_command_has_help_and_every_argument_too() -> None:
    for command in PROGRAM.rows():
        assert command.help
        assert not command.help.endswith(".")
        assert all(argument.help for argument in command.arguments)
    names = [command.name for command in PROGRAM.rows()]
    assert len(names) == len(set(names))
    assert {"check", "compile", "diff", "explain"} <= set(names)


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""Without buffers nothing is left to flush when Python ends, which hides what this looks for."""


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["found at the flush", "found at the write"])
def test_a_reader_that_has_enough_hears_no_complaint(size: int) -> None:
    code = (
        "import sys; from xfrmd.cli.program import run; from tests.unit.test_cli_program import flood; "
        f"sys.exit(run(flood({size})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "act"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=BUFFERED
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def flood(size: int) -> Program:
    def action(arguments: argparse.Namespace, output: Output) -> int:
        output.answer({}, "x" * size)
        return 0

    return toy(action)


def sleepy() -> Program:
    def action(arguments: argparse.Namespace, output: Output) -> int:
        print("ready", flush=True)
        time.sleep(60)
        return 0

    return toy(action)


def test_control_c_is_quiet() -> None:
    code = (
        # A shell's background job starts with SIGINT ignored, and so would this one.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from xfrmd.cli.program import run; from tests.unit.test_cli_program import sleepy; "
        "sys.exit(run(sleepy()))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "act"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=BUFFERED
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (out, err) == (b"", b"")
    assert process.returncode == 130


def test_names_that_no_locale_can_print_do_not_end_a_program() -> None:
    gone = os.fsdecode(b"/gone/\xff\xfe")
    program = [sys.executable, "-c", START, "check", gone, "--facts", "/dev/null"]
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(program, capture_output=True, cwd=ROOT, env=env, check=False)
    assert done.returncode == 1
    assert b"No such file" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_program_without_examples_has_none_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(flood(1)._replace(examples=()), ["--help"])
    assert "examples:" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["bogus", "status"], ["status", "bogus"], ["--control", "check", "bogus"]])
def test_refusals_tell_of_all_commands_whatever_words_stand_beside(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(PROGRAM, words)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "bogus" in told
    assert words[0] == "status" or all(f"'{command.name}'" in told for command in PROGRAM.commands)


def test_help_beside_a_command_is_that_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(PROGRAM, ["--hel", "status"])
    told = capsys.readouterr().out
    assert all(f"    {command.name} " in told for command in PROGRAM.commands)
