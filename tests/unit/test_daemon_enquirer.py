# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists fetched ahead and anew, kept on the disk, left alone after failures. HTTP is a table here, time leaps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.conversations import plans
from tests.conversations.scenes import A4, B4
from tests.unit.pki import NOW, Holder, answered, asking, crl, issue, method, places, root
from xfrmd.adapters.durable import Disk
from xfrmd.adapters.fetched_lists import FetchedLists
from xfrmd.adapters.http import FetchError, Request
from xfrmd.credentials.revocation import lists_of
from xfrmd.credentials.sources import News, Source
from xfrmd.daemon.enquirer import Enquirer, Ways
from xfrmd.limits import fetching
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice
from xfrmd.model.pad import CRL_ALWAYS, Fetching
from xfrmd.model.plan import Plan

CA, STRANGER = root(), root("Root", own_key=root("Other").key)
LIST, OTHER, RESPONDER = "http://crl.example/ca.crl", "http://other.example/ca.crl", "http://ocsp.example/"
A = issue("a", by=CA, san=["a.example"], more=places(LIST))
B = issue("b", by=CA, san=["b.example"])
OF_LIST, OF_B = Source(LIST, (CA.der,)), Source(RESPONDER, (CA.der,), B.der)
HOUR, DAY = 3600.0, 86400.0


class Leaping(asyncio.SelectorEventLoop):
    """Time goes by when a test says so."""

    leapt = 0.0

    def time(self) -> float:
        return super().time() + self.leapt


def plan_of(fetch: Fetching | None) -> Plan:
    settings = plans.Settings(auth=(asking(method(CA, [A], check=CRL_ALWAYS), fetch),))
    return plans.plan(A4, [B4], settings)


def der(by: Holder = CA, *revoked: Holder, days: tuple[int, int] = (-1, 30)) -> bytes:
    return lists_of(crl(by, *revoked, days=days))[0]


class Place:
    """An enquirer, and all that it meets."""

    def __init__(self, directory: Path) -> None:
        self.web: dict[str, bytes | Exception] = {LIST: der(), RESPONDER: answered(CA, B)}
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None
        self.heard: asyncio.Queue[tuple[Source, News | None, str]] = asyncio.Queue()
        self.told: list[Notice] = []
        self.outdated: asyncio.Queue[tuple[Source, bytes]] = asyncio.Queue()
        self.broken: list[tuple[str, Exception]] = []
        self.rule = ""
        self.directory = directory / "revocation"
        self.store = FetchedLists(self.directory, Disk())
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Leaping)
        self.loop, self.began = loop, loop.time()
        self.enquirer = self.another()

    def another(self) -> Enquirer:
        ways = Ways(self.fetch, self.wall, lambda _: self.rule, self.store)
        return Enquirer(
            ways,
            lambda *news: self.heard.put_nowait(news),
            self.told.append,
            lambda *fault: self.broken.append(fault),
            lambda *kept: self.outdated.put_nowait(kept),
        )

    def wall(self) -> float:
        return NOW.timestamp() + self.loop.time() - self.began

    async def fetch(self, request: Request) -> bytes:
        self.asked.append(request.url)
        if self.held is not None:
            await self.held.wait()
        found = self.web[request.url]
        if isinstance(found, Exception):
            raise found
        return found

    async def news(self) -> tuple[Source, News | None, str]:
        return await asyncio.wait_for(self.heard.get(), 20)

    def leap(self, seconds: float) -> None:
        self.loop.leapt += seconds

    def notices(self) -> list[str]:
        return [one.message for one in self.told]


def played(story: Callable[[Place], Coroutine[Any, Any, None]], directory: Path) -> None:
    async def play() -> None:
        place = Place(directory)
        try:
            await story(place)
        finally:
            place.enquirer.close()

    with asyncio.Runner(loop_factory=Leaping) as runner:
        runner.run(play())


def test_lists_are_fetched_ahead_and_anew_before_they_end(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[LIST] = first = der(days=(-1, 2))
        place.enquirer.plan_changed(plan_of(Fetching()))
        assert await place.news() == (OF_LIST, first, "")
        place.leap(DAY - HOUR)
        await asyncio.sleep(0.01)
        assert place.asked == [LIST]
        place.web[LIST] = later = der(days=(0, 30))
        place.leap(HOUR + 1)
        assert await place.news() == (OF_LIST, later, "")
        assert [one.partition(", until")[2] for one in place.notices()] == [
            " 2030-06-03 00:00:00 UTC",
            " 2030-07-01 00:00:00 UTC",
        ]

    played(story, tmp_path)


def test_nothing_is_fetched_where_nobody_wants_it(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.enquirer.plan_changed(plan_of(None))
        await asyncio.sleep(0.01)
        assert not place.asked

    played(story, tmp_path)


def test_one_question_at_a_time_whoever_asks(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.held = asyncio.Event()
        place.enquirer.plan_changed(plan_of(Fetching()))
        for _ in range(5):
            place.enquirer.ask(OF_LIST)
        await asyncio.sleep(0.05)
        place.held.set()
        assert (await place.news())[1]
        assert place.asked == [LIST]
        assert place.heard.empty()

    played(story, tmp_path)


def test_what_failed_is_left_alone_for_longer_each_time(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[RESPONDER] = FetchError("it answers with status 500")
        place.enquirer.plan_changed(plan_of(Fetching(responders=(RESPONDER,))))
        await place.news()
        place.enquirer.ask(OF_B)
        assert await place.news() == (OF_B, None, "it answers with status 500")
        for pause in (20.0, 40.0, 80.0):
            count = len(place.asked)
            place.leap(pause - 1)
            place.enquirer.ask(OF_B)
            assert (await place.news())[2] == "it answers with status 500"
            assert len(place.asked) == count
            place.leap(1.5)
            place.enquirer.ask(OF_B)
            await place.news()
            assert len(place.asked) == count + 1
        assert [one for one in place.notices() if "500" in one] == [f"{RESPONDER}: it answers with status 500"]
        place.web[RESPONDER] = answered(CA, B)
        place.leap(200)
        place.enquirer.ask(OF_B)
        assert (await place.news())[1] is not None

    played(story, tmp_path)


def test_a_fault_of_ours_is_told_and_is_no_answer_for_who_waits(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[RESPONDER] = fault = ZeroDivisionError("a fault of ours")
        place.enquirer.ask(OF_B)
        assert await place.news() == (OF_B, None, "an internal error")
        assert place.broken == [("revocation", fault)]
        place.web[RESPONDER] = answered(CA, B)
        place.leap(DAY)
        place.enquirer.ask(OF_B)
        assert (await place.news())[1] is not None

    played(story, tmp_path)


def test_a_list_that_cannot_be_fetched_is_tried_again_by_itself(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[LIST] = FetchError("nobody there")
        place.enquirer.plan_changed(plan_of(Fetching()))
        assert (await place.news())[2] == "nobody there"
        place.web[LIST] = der()
        place.leap(21)
        assert (await place.news())[1] is not None
        (known,) = place.enquirer.known.values()
        assert (known.failures, known.trouble) == (0, "")

    played(story, tmp_path)


LIES = {
    "of another issuer": (
        der(root("Else")),
        "it is a revocation list of 'O=Example, CN=Else', not of 'O=Example, CN=R",
    ),
    "of the same name": (der(STRANGER), "the revocation list of 'O=Example, CN=Root' is not signed by its key"),
    "stale": (der(days=(-9, -2)), "held until 2030-05-30"),
    "of tomorrow": (der(days=(1, 2)), "is of 2030-06-02"),
    "none at all": (b"<html>", "a revocation list that cannot be read"),
    "in PEM": (crl(CA), "a revocation list that cannot be read"),
    "empty": (b"", "a revocation list that cannot be read"),
}


@pytest.mark.parametrize("case", LIES.values(), ids=LIES)
def test_lists_that_are_lies_are_told_and_never_kept(case: tuple[bytes, str], tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[LIST] = case[0]
        place.enquirer.plan_changed(plan_of(Fetching()))
        source, news, trouble = await place.news()
        assert (source, news) == (OF_LIST, None)
        assert case[1] in trouble
        (told,) = place.told
        assert told.message == f"{LIST}: {trouble}"
        assert f"curl -v {LIST}" in told.remedy
        assert not place.directory.exists()

    played(story, tmp_path)


def test_a_start_needs_no_server(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.enquirer.plan_changed(plan_of(Fetching()))
        fetched = (await place.news())[1]
        place.enquirer.close()
        place.web[LIST] = FetchError("nobody there")
        place.enquirer = place.another()
        place.enquirer.plan_changed(plan_of(Fetching()))
        assert (await place.news())[1] == fetched
        assert place.asked == [LIST]

    played(story, tmp_path)


@pytest.mark.parametrize("content", [b"", b"rubbish", der(STRANGER), der(days=(-9, -2)), bytes(3 * 1024 * 1024)])
def test_what_is_on_the_disk_is_judged_as_what_was_fetched(content: bytes, tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.store.save(LIST, content)
        place.enquirer.plan_changed(plan_of(Fetching()))
        assert (await place.news())[1] == place.web[LIST]
        assert place.asked == [LIST]

    played(story, tmp_path)


@pytest.mark.parametrize(
    ("content", "counts"), [(der(CA, B, days=(-9, -2)), True), (der(STRANGER, B, days=(-9, -2)), False)]
)
def test_a_list_of_an_earlier_run_that_no_longer_holds_is_told_before_anybody_is_asked(
    content: bytes, counts: bool, tmp_path: Path
) -> None:
    """Also when nobody can be asked, as others wait for their answers."""

    async def story(place: Place) -> None:
        place.store.save(LIST, content)
        place.held = asyncio.Event()
        for number in range(fetching.AT_ONCE):
            one = Source(f"{RESPONDER}{number}", (CA.der,), B.der)
            place.web[one.url] = answered(CA, B)
            place.enquirer.ask(one)
        place.web[LIST] = FetchError("nobody there")
        place.enquirer.plan_changed(plan_of(Fetching(responders=(RESPONDER,))))
        if counts:
            assert await asyncio.wait_for(place.outdated.get(), 20) == (OF_LIST, content)
        assert LIST not in place.asked
        place.held.set()
        heard = [await place.news() for _ in range(fetching.AT_ONCE + 1)]
        assert [(source, trouble) for source, news, trouble in heard if news is None] == [(OF_LIST, "nobody there")]
        assert place.outdated.empty()

    played(story, tmp_path)


def test_a_start_leaves_the_lists_that_peers_have_named_as_many_as_are_kept(tmp_path: Path) -> None:
    """Which they are is not known before the peers come."""

    async def story(place: Place) -> None:
        place.store.save(LIST, der())
        os.utime(next(place.directory.iterdir()), (0, 0))
        for number in range(fetching.CRLS_FETCHED + 9):
            place.store.save(f"{OTHER}{number}", der())
            os.utime(place.store._path(f"{OTHER}{number}"), (number, number))
        (place.directory / "half.crl.new").write_bytes(b"")
        place.enquirer.plan_changed(plan_of(Fetching()))
        urls = [LIST, *(f"{OTHER}{number}" for number in range(10, fetching.CRLS_FETCHED + 9))]
        assert {*place.directory.iterdir()} == {place.store._path(url) for url in urls}

    played(story, tmp_path)


def test_files_of_addresses_that_nobody_asks_any_more_go(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.web[OTHER] = der()
        place.enquirer.plan_changed(plan_of(Fetching(lists=(OTHER,))))
        await place.news(), await place.news()
        assert len([*place.directory.iterdir()]) == 2
        place.enquirer.plan_changed(plan_of(Fetching()))
        assert [one.source.url for one in place.enquirer.known.values()] == [LIST]
        assert len([*place.directory.iterdir()]) == 1
        place.enquirer.plan_changed(plan_of(None))
        assert not [*place.directory.iterdir()]
        assert not place.enquirer.known

    played(story, tmp_path)


def test_a_host_behind_the_policy_itself_is_told(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.rule = "office"
        place.web[LIST] = FetchError("port 80 does not answer (at 127.0.0.9)", Address.parse("127.0.0.9"))
        place.enquirer.plan_changed(plan_of(Fetching()))
        told = (await place.news())[2]
        assert "packets to there need an SA of rule 'office', which may wait for this very answer" in told
        assert "let a permit filter pass TCP" in place.told[0].remedy

    played(story, tmp_path)


def test_floods_of_questions_are_bounded(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        place.held = asyncio.Event()
        sources = [Source(f"{RESPONDER}{number}", (CA.der,), B.der) for number in range(fetching.WAITING + 10)]
        for one in sources:
            place.web[one.url] = answered(CA, B)
            place.enquirer.ask(one)
        for _ in range(10):
            assert (await place.news())[2] == "too many lists and responders are asked at once"
        await asyncio.sleep(0)
        assert len(place.asked) == fetching.AT_ONCE
        place.held.set()
        for _ in range(fetching.WAITING):
            assert (await place.news())[1] is not None
        urls = [f"{LIST}{number}" for number in range(2 * fetching.CRLS_FETCHED)]
        for url in urls:
            place.web[url] = der()
            place.enquirer.ask(Source(url, (CA.der,)))
            await place.news()
        assert sum(one.is_list for one in place.enquirer.known) == fetching.CRLS_FETCHED

    played(story, tmp_path)
