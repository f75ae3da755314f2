# SPDX-License-Identifier: GPL-2.0-or-later
"""Notices: escaped, bounded, rationed; and what systemd is told."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.journal import Journal, fields, line, printable, stream_sink
from xfrmd.adapters.notify import Inherited, Notifier, inherited
from xfrmd.model.notice import Level, Notice


def notice(code: str = "auth-failed", level: Level = Level.WARNING, text: str = "no") -> Notice:
    return Notice(level, code, text, {"peer": "a\nPRIORITY=0\x1b[2J"}, "mend\nit")


def test_text_of_peers_cannot_forge_lines_or_fields() -> None:
    found = fields(notice(text="x\ny"))
    assert found["XFRMD_PEER"] == "a\\nPRIORITY=0\\x1b[2J"
    assert all("\n" not in value and "\x1b" not in value for value in found.values())
    assert line(notice(text="x\ny")) == "x\\ny; remedy: mend\\nit"
    assert printable("\u202egnp.exe \ud800") == "\\u202egnp.exe \\ud800"


def test_long_text_is_cut() -> None:
    assert len(printable("x" * 100_000)) == limits.NOTICE_TEXT + 3


def test_a_line_for_the_journal_starts_with_its_priority() -> None:
    stream = io.StringIO()
    stream_sink(stream)(notice(text="wrong key"))
    assert stream.getvalue() == "<4>wrong key; remedy: mend\\nit [auth-failed]\n"


def test_each_code_has_a_ration_and_the_rest_is_counted() -> None:
    now, written = [0.0], list[Notice]()
    journal = Journal(written.append, clock=lambda: now[0])
    for _ in range(1000):
        journal.tell(notice("no-rule"))
    journal.tell(notice("auth-failed"))
    assert [n.code for n in written] == ["no-rule"] * limits.NOTICE_BURST + ["auth-failed"]
    now[0] = limits.NOTICE_INTERVAL
    journal.tell(notice("no-rule"))
    assert [n.code for n in written[-2:]] == ["notices-suppressed", "no-rule"]
    assert written[-2].fields == {"count": str(1000 - limits.NOTICE_BURST)}


def test_what_the_operator_asked_for_is_not_rationed() -> None:
    written: list[Notice] = []
    journal = Journal(written.append)
    for _ in range(100):
        journal.report(notice("policy-problem"))
    assert len(written) == 100


def test_a_sink_that_fails_ends_nothing() -> None:
    def full(_: Notice) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(full)
    journal.tell(notice())
    journal.report(notice())
    assert journal.lost == 2


def test_field_names_are_the_journals() -> None:
    found = fields(Notice(Level.INFO, "code", "text", {"spi-in": "1", "größe": "2"}))
    assert {"XFRMD_SPI_IN", "XFRMD_GR__E"} <= set(found)


def test_levels_below_the_least_are_left_out() -> None:
    written: list[Notice] = []
    Journal(written.append, Level.INFO).tell(notice(level=Level.DEBUG))
    assert written == []


def test_systemd_is_told_over_its_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        notifier.ready("fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"
        notifier.alive()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.reloading()
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert notifier.watchdog_interval == 1.5


def test_an_abstract_socket_is_understood() -> None:
    name = f"xfrmd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).stopping()
        assert manager.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    notifier.ready("fine")
    assert notifier.watchdog_interval is None
    assert inherited({"LISTEN_FDS": "2", "LISTEN_PID": "1"}) == Inherited()
