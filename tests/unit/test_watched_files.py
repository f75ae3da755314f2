# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of files are told soon, however they are made, and nothing is looked at while nothing changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xfrmd import limits
from xfrmd.adapters.files import stamp
from xfrmd.adapters.inotify import FileNews
from xfrmd.adapters.watched import WatchedFiles

WITHIN = 5.0
"""Seconds for what takes a quarter of one on a quiet machine; far below limits.FACTS_RECHECK."""


class NoNews(FileNews):
    """A kernel that has no inotify left."""

    def open(self) -> bool:
        return False


class Seen:
    """Watched files whose looks and news are counted."""

    def __init__(self, *paths: Path, news: Callable[[Callable[[], None]], FileNews] = FileNews) -> None:
        self.looks = 0
        self.told: asyncio.Queue[None] = asyncio.Queue()
        self._paths = paths
        self.files = WatchedFiles(paths, self._look, lambda: self.told.put_nowait(None), news)

    def _look(self) -> object:
        self.looks += 1
        inside = [file for path in self._paths if path.is_dir() for file in sorted(path.iterdir())]
        return tuple((path, stamp(path)) for path in (*self._paths, *inside))

    async def after(self, change: Callable[[], object]) -> None:
        """Wait until this change is told."""
        change()
        await asyncio.wait_for(self.told.get(), WITHIN)


def follows(
    path: Path, *changes: Callable[[], object], news: Callable[[Callable[[], None]], FileNews] = FileNews
) -> int:
    """Make these changes one after the other, each told; how often the files were looked at."""

    async def follow() -> int:
        seen = Seen(path, news=news)
        seen.files.start()
        try:
            for change in changes:
                await seen.after(change)
            return seen.looks
        finally:
            seen.files.stop()

    return asyncio.run(follow())


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def relink(path: Path, to: Path) -> None:
    new = path.with_name("new")
    new.symlink_to(to)
    new.replace(path)


def test_a_file_that_comes_changes_is_replaced_and_goes_is_told_each_time(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    follows(
        file,
        lambda: file.write_text("1"),
        lambda: file.write_text("22"),
        lambda: replace(file, "333"),
        lambda: file.write_text("4444"),
        file.unlink,
        lambda: file.write_text("55555"),
    )


def test_a_link_and_what_it_leads_to_are_followed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
        (directory / "file").write_text("first")
    link = tmp_path / "etc" / "link"
    link.parent.mkdir()
    link.symlink_to("../one/file")
    follows(
        link,
        lambda: (one / "file").write_text("more"),
        lambda: replace(one / "file", "another"),
        lambda: relink(link, two / "file"),
        lambda: replace(two / "file", "one more"),
        lambda: (two / "file").write_text("and more"),
    )


def test_a_directory_that_does_not_exist_yet_is_seen_to_come_and_its_files_change(tmp_path: Path) -> None:
    leases = tmp_path / "run" / "netif" / "leases"
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "1").write_text("a lease")

    def come() -> None:
        leases.parent.mkdir(parents=True)
        (tmp_path / "made").rename(leases)

    follows(
        leases,
        come,
        lambda: (leases / "1").write_text("a longer lease"),
        lambda: (leases / "2").write_text("a lease"),
        (leases / "1").unlink,
    )


def test_a_directory_that_must_not_be_read_is_no_reason_to_look_all_the_time(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)

    async def watch() -> bool:
        news = FileNews(lambda: None)
        assert news.open()
        try:
            return news.watch([closed, closed / "file"])
        finally:
            news.close()

    assert asyncio.run(watch())


def test_files_are_looked_at_all_the_time_where_there_is_no_inotify(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert follows(file, lambda: file.write_text("1"), lambda: file.write_text("22"), news=NoNews) >= 4


def test_nothing_is_looked_at_while_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("1")

    async def idle() -> int:
        seen = Seen(file)
        seen.files.start()
        try:
            await seen.after(lambda: file.write_text("22"))
            before = seen.looks
            await asyncio.sleep(3 * limits.FACTS_INTERVAL)
            return seen.looks - before
        finally:
            seen.files.stop()

    assert asyncio.run(idle()) == 0


def test_no_descriptor_or_watch_is_left(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    before = len(list(Path("/proc/self/fd").iterdir()))
    follows(file, *(lambda number=number: replace(file, "x" * number) for number in range(3)))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("started", [False, True])
def test_a_deadline_is_told(tmp_path: Path, *, started: bool) -> None:
    async def wait() -> float:
        seen = Seen(tmp_path / "resolv.conf")
        end = time.time() + 0.3
        if not started:
            seen.files.ends(end)
        seen.files.start()
        try:
            seen.files.ends(end)
            await asyncio.wait_for(seen.told.get(), WITHIN)
            return time.time() - end
        finally:
            seen.files.stop()

    assert 0 <= asyncio.run(wait()) < 1
