# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in the event loop: hosts file before DNS, last answers in a file, changes told. DNS is a table here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from xfrmd.adapters.names import dns
from xfrmd.adapters.names.follow import Names, NameSources
from xfrmd.adapters.names.store import NameStore
from xfrmd.adapters.names.table import Answered, Failed, Half, Last
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Notice

FILES, PRINT = "files.corp.example", "print.corp.example"
SERVERS = ("10.1.0.53",)


class Zone:
    """What DNS says, and what it was asked."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): text for name, text in names.items()}
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def ask(self, name: str, servers: Sequence[str]) -> tuple[Half, Half]:
        self.asked.append((name, tuple(servers)))
        text = self.names.get(name)
        if text is None:
            return Failed("no server"), Failed("no server")
        return Answered((Address.parse(text),), 60), Answered((), 60)


class Place:
    def __init__(self, directory: Path, zone: Zone) -> None:
        self.hosts, self.file, self.zone = directory / "hosts", directory / "names.json", zone
        self.told: list[Notice] = []
        self.changes: asyncio.Queue[None] = asyncio.Queue()

    def names(self) -> Names:
        made = Names(NameSources(self.hosts, NameStore(self.file), self.zone.ask, lambda: 0.0), self.told.append)
        made.changed = lambda: self.changes.put_nowait(None)
        return made


def shown(names: Names) -> dict[str, list[str]]:
    return {name: [*map(str, found)] for name, found in names.addresses().items()}


def wanted(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_names_are_known_when_they_have_settled(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone(files_corp_example="10.1.0.9"))
        names = place.names()
        names.want(wanted(FILES, PRINT), SERVERS, strict=False)
        await names.settled()
        assert shown(names) == {FILES: ["10.1.0.9"]}
        assert place.zone.asked == [(FILES, SERVERS), (PRINT, SERVERS)]
        origins = names.origins(asyncio.get_running_loop().time())
        assert origins[FILES].source == "DNS"
        assert 59 < (origins[FILES].seconds or 0) <= 60
        assert origins[PRINT].trouble == "no server"
        names.close()

    asyncio.run(story())


def test_the_hosts_file_goes_first_and_is_followed(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone(files_corp_example="10.1.0.9"))
        place.hosts.write_text(
            f"127.0.1.1 {PRINT}\n10.1.0.7\tother Files.Corp.Example. # {PRINT}\nfd00::7 {FILES}\nx\n"
        )
        names = place.names()
        names.want(wanted(FILES), SERVERS, strict=False)
        await names.settled()
        assert shown(names) == {FILES: ["10.1.0.7", "fd00::7"]}
        assert place.zone.asked == []
        assert names.origins(0)[FILES].source == str(place.hosts)
        before = names.stamp()
        place.hosts.write_text("")
        assert names.stamp() != before
        names.surroundings(SERVERS, network_changed=False)
        assert shown(names) == {FILES: ["10.1.0.7", "fd00::7"]}, "until DNS says otherwise"
        await place.changes.get()
        assert shown(names) == {FILES: ["10.1.0.9"]}
        names.close()

    asyncio.run(story())


def test_loopback_addresses_of_the_hosts_file_count_for_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone(files_corp_example="10.1.0.9"))
        place.hosts.write_text(f"127.0.1.1 {FILES}\n0.0.0.0 {FILES}\n")
        names = place.names()
        names.want(wanted(FILES), SERVERS, strict=False)
        await names.settled()
        assert shown(names) == {FILES: ["10.1.0.9"]}
        names.close()

    asyncio.run(story())


def test_a_restart_goes_on_with_the_last_answers(tmp_path: Path) -> None:
    async def first() -> None:
        names = Place(tmp_path, Zone(files_corp_example="10.1.0.9")).names()
        names.want(wanted(FILES), SERVERS, strict=False)
        await names.settled()
        names.close()

    async def second() -> None:
        names = Place(tmp_path, Zone()).names()
        names.want(wanted(FILES), SERVERS, strict=False)
        await names.settled()
        assert shown(names) == {FILES: ["10.1.0.9"]}
        assert names.origins(0)[FILES].source == "an earlier run"
        names.want(wanted(FILES), SERVERS, strict=True)
        assert shown(names) == {}, "it is not resolved now"
        names.close()

    asyncio.run(first())
    assert (tmp_path / "names.json").stat().st_mode & 0o777 == 0o600
    asyncio.run(second())


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "names": {"a.example": 5}}',
        '{"schema": 1, "names": {"a.example": [["x"], null]}}',
        '{"schema": 1, "names": {"a.example": [null]}, "x": ' + "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_damaged_file_is_told_and_not_used(tmp_path: Path, text: str) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone())
        place.file.write_text(text)
        names = place.names()
        names.want(wanted("a.example"), SERVERS, strict=False)
        await names.settled()
        assert shown(names) == {}
        assert place.told[0].code == "names-file"
        names.close()

    asyncio.run(story())


def test_addresses_in_the_file_are_judged_as_answers_are(tmp_path: Path) -> None:
    (tmp_path / "names").write_text(json.dumps({"schema": 1, "names": {FILES: [["127.0.0.1", "10.1.0.9"], None]}}))
    assert NameStore(tmp_path / "names").load() == {FILES: Last((Address.parse("10.1.0.9"),), None)}


def test_other_name_servers_are_asked_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone(files_corp_example="10.1.0.9"))
        names = place.names()
        names.want(wanted(FILES), (), strict=False)
        await names.settled()
        place.zone.names[FILES] = "10.1.0.10"
        names.surroundings(SERVERS, network_changed=False)
        await place.changes.get()
        await place.changes.get()
        assert shown(names) == {FILES: ["10.1.0.10"]}
        assert place.zone.asked[-1] == (FILES, SERVERS)
        names.close()

    asyncio.run(story())


def test_other_names_are_looked_up_once_and_kept_nowhere(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone(files_corp_example="10.1.0.9"))
        place.hosts.write_text(f"10.1.0.7 {PRINT}\n")
        names = place.names()
        found = await names.look_up(wanted(FILES, PRINT), SERVERS, strict=True)
        assert {name: [*map(str, addresses)] for name, addresses in found.items()} == {
            FILES: ["10.1.0.9"],
            PRINT: ["10.1.0.7"],
        }
        assert shown(names) == {}
        assert not place.file.exists()

    asyncio.run(story())


def test_a_question_without_an_end_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(name: str, servers: Sequence[str]) -> tuple[Half, Half]:
        del name, servers
        await asyncio.Event().wait()
        raise AssertionError

    async def story() -> None:
        names = Names(NameSources(tmp_path / "hosts", None, endless))
        names.want(wanted(FILES), SERVERS, strict=False)
        await names.settled()
        assert names.origins(0)[FILES].trouble == "the question did not come to an end"
        names.close()

    monkeypatch.setattr("xfrmd.limits.NAME_DEADLINE", 0.1)
    asyncio.run(story())


def test_nobody_is_asked_after_the_end(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path, Zone())
        names = place.names()
        names.want(wanted(FILES), SERVERS, strict=False)
        names.close()
        await asyncio.sleep(0)
        assert place.told == []
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())


def test_a_host_without_name_servers_has_no_names(tmp_path: Path) -> None:
    del tmp_path
    assert asyncio.run(dns.ask(FILES, ())) == (Failed("this host has no name server"),) * 2
