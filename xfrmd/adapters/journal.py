# SPDX-License-Identifier: GPL-2.0-or-later
"""Notices to the operator: structured fields in the journal, or readable lines on stderr.

Text of peers ends up here, so every character that is not printable is escaped, each text is bounded, and each code
has a rate: a flood of hostile packets makes a few lines and a count, not a full disk.
"""

from __future__ import annotations

import importlib
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO

from xfrmd import limits
from xfrmd.model.notice import Level, Notice

Sink = Callable[[Notice], None]
_JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
_MESSAGE_IDS: Final = uuid.UUID("8c1d5a52-6f57-4a0e-9b21-3f6e5b7d2c11")
"""Name space of MESSAGE_ID: one per notice code, for `journalctl MESSAGE_ID=`."""
_COLOURS: Final = {Level.ERROR: "\x1b[31m", Level.WARNING: "\x1b[33m", Level.NOTICE: "\x1b[1m"}


def printable(text: str) -> str:
    """The text on one line, with what a terminal or log would act on escaped, cut to limits.NOTICE_TEXT."""
    if len(text) > limits.NOTICE_TEXT:
        text = text[: limits.NOTICE_TEXT] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Journal:
    """Where notices go. `clock` gives seconds that only grow."""

    def __init__(self, sink: Sink, least: Level = Level.INFO, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._least = least
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        self.lost = 0
        """Notices that could not be written."""

    def tell(self, notice: Notice) -> None:
        """Write a notice, unless its code has had its share of this interval: then it is counted only."""
        if notice.level > self._least:
            return
        now = self._clock()
        start, count = self._windows.get(notice.code, (now, 0))
        if now - start >= limits.NOTICE_INTERVAL:
            self._suppressed(notice.code, count)
            start, count = now, 0
        if len(self._windows) < limits.NOTICE_CODES or notice.code in self._windows:
            self._windows[notice.code] = (start, count + 1)
        if count < limits.NOTICE_BURST:
            self._write(notice)

    def report(self, notice: Notice) -> None:
        """Write a notice that answers the operator: every mistake of a policy counts, and nobody else can cause it."""
        self._write(notice)

    def _write(self, notice: Notice) -> None:
        try:
            self._sink(notice)
        except (OSError, ValueError):  # a full disk or a closed stderr must not end what the notice is about
            self.lost += 1

    def _suppressed(self, code: str, count: int) -> None:
        if count > limits.NOTICE_BURST:
            more = str(count - limits.NOTICE_BURST)
            self._write(Notice(Level.NOTICE, "notices-suppressed", f"{more} more of {code}", {"count": more}))


def fields(notice: Notice) -> dict[str, str]:
    """Journal fields of a notice (systemd.journal-fields(7)), every value escaped."""
    found = {
        "PRIORITY": str(int(notice.level)),
        "SYSLOG_IDENTIFIER": "xfrmd",
        "MESSAGE_ID": uuid.uuid5(_MESSAGE_IDS, notice.code).hex,
        "XFRMD_CODE": notice.code,
    }
    found |= {f"XFRMD_{_field_name(name)}": printable(value) for name, value in notice.fields.items()}
    if notice.remedy:
        found["XFRMD_REMEDY"] = printable(notice.remedy)
    return found


def _field_name(name: str) -> str:
    """A name as the journal takes it: capitals, digits and underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()


def line(notice: Notice) -> str:
    """A notice on one line: what happened, then what to do."""
    remedy = f"; remedy: {printable(notice.remedy)}" if notice.remedy else ""
    return f"{printable(notice.message)}{remedy}"


def stream_sink(stream: TextIO) -> Sink:
    """Lines on a stream: for a person on a terminal, else with the syslog priority that journald and others read."""
    person = stream.isatty()

    def write(notice: Notice) -> None:
        if person:
            colour = _COLOURS.get(notice.level, "")
            stream.write(f"{colour}{notice.level.name.lower()}{colour and chr(27) + '[0m'}: {line(notice)}\n")
        else:
            stream.write(f"<{int(notice.level)}>{line(notice)} [{notice.code}]\n")
        stream.flush()

    return write


def journal_sink() -> Sink | None:
    """The journal with structured fields, None where Debian's python3-systemd is missing."""
    try:
        send = importlib.import_module("systemd.journal").send
    except ImportError:
        return None
    return lambda notice: send(line(notice), **fields(notice))


def system_sink(environ: Mapping[str, str]) -> Sink:
    """The journal for a service of systemd, stderr for everything else."""
    if "JOURNAL_STREAM" in environ and _JOURNAL_SOCKET.exists():
        return journal_sink() or stream_sink(sys.stderr)
    return stream_sink(sys.stderr)
