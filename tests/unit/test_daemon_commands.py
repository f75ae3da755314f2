# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy in force and the commands over it: what is refused changes nothing, answers fit the table."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xfrmd import limits
from xfrmd.adapters.facts import Origins
from xfrmd.adapters.leases.found import HeldLease
from xfrmd.adapters.leases.lease import Lease
from xfrmd.adapters.names.follow import NameOrigin
from xfrmd.adapters.policy_files import PolicyFiles
from xfrmd.adapters.policy_stores import StoreFiles
from xfrmd.adapters.xfrm import uses
from xfrmd.adapters.xfrm.uses import Use, Uses
from xfrmd.cli import show
from xfrmd.cli.output import Output
from xfrmd.cli.show_facts import facts_text
from xfrmd.compiler.soft import soft_part
from xfrmd.control.schema import BY_NAME, ControlError, Json
from xfrmd.daemon.answers import pieces
from xfrmd.daemon.boot import BootState
from xfrmd.daemon.changes import Changes
from xfrmd.daemon.commands import TABLE
from xfrmd.daemon.core import Core, Faults
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.house import House
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.ports import Outcome
from xfrmd.daemon.stores import Stores
from xfrmd.daemon.ticket_keys import TicketKeyring
from xfrmd.daemon.views import Clocks
from xfrmd.errors import KernelError
from xfrmd.ike.effects import Effect
from xfrmd.ike.events import Delete, Endpoint, Event, Initiate, PlanChanged, Rekey
from xfrmd.ike.views import ChildSaView, IkeSaView
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.model.nft import Counted
from xfrmd.model.notice import Level, Notice
from xfrmd.model.plan import NO_OVERLAY, Overlay, Plan, PlanDelta
from xfrmd.model.proposals import ProtocolId, Transform
from xfrmd.model.selector import Selector
from xfrmd.model.store import Store
from xfrmd.policy.resolve import SecretReader
from xfrmd.policy.words import BootExemption, BootMode

HERE, THERE = Address.parse("10.1.0.5"), Address.parse("10.1.0.9")
POLICY = """
version: 1
filterlists:
  - name: office
    filters: [{srcaddr: me, dstaddr: 10.1.0.0/16}]
filteractions:
  - {name: require, action: negotiate}
policies:
  - name: Office
    assign: yes
    rules:
      - {name: protect, filterlist: office, filteraction: require, psk: "correct horse battery staple"}
"""
BAD = POLICY.replace("action: negotiate", "action: negociate").replace("me, dstaddr", "mee, dstaddr")


def facts_of(address: Address) -> HostFacts:
    return HostFacts((Interface("eth0", InterfaceKind.LAN, (InterfaceAddress(address, 16),)),))


class Kernel:
    """An enforcer that remembers plans, and refuses the one it is told to."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.refuse = ""
        self.asked: list[str] = []
        """What was asked of SAs."""
        self.degraded: tuple[str, ...] = ()

    def apply(self, plan: Plan, overlay: Overlay = NO_OVERLAY) -> Outcome:
        assert overlay == NO_OVERLAY
        if self.refuse and self.refuse in plan.policy.split(" + "):
            raise KernelError("no memory", 12)
        self.plans.append(plan)
        return Outcome(self.degraded, {"policies added": len(plan.spd)})

    def change(self, plan: Plan, delta: PlanDelta, overlay: Overlay = NO_OVERLAY) -> Outcome:
        assert delta != PlanDelta()
        return self.apply(plan, overlay)

    def overlay(self, overlay: Overlay) -> Outcome:
        return self.apply(self.plans[-1], overlay)

    def check(self, plan: Plan) -> Outcome:
        assert plan == self.plans[-1]
        return Outcome(self.degraded, {})

    @property
    def proved(self) -> bool:
        return not self.degraded

    def disturbed(self) -> bool:
        return False

    def shut(self) -> None: ...

    def mend(self) -> Outcome:
        return self.apply(self.plans[-1])

    def uses_apart(self) -> Uses:
        self.asked.append("all")
        inbound, outbound = uses.key(ProtocolId.ESP, 0xA1, HERE), uses.key(ProtocolId.ESP, 0xB2, THERE)
        return Uses([(inbound, Use(4096, 3)), (outbound, Use(8192, 5))])

    def use(self, protocol: ProtocolId, spi: int, dst: Address) -> Use | None:
        found = self.uses_apart().of(protocol, spi, dst)
        self.asked[-1] = f"{spi:x}"
        return found


class Facts:
    def __init__(self) -> None:
        self.now = facts_of(HERE)
        self.wanted: list[tuple[list[str], bool]] = []

    def read(self) -> HostFacts:
        return self.now

    def want(self, names: frozenset[str], *, strict: bool) -> None:
        self.wanted.append((sorted(names), strict))

    async def settled(self) -> None: ...

    async def look_up(self, names: frozenset[str], *, strict: bool) -> dict[str, tuple[Address, ...]]:
        assert not strict
        return dict.fromkeys(names, (THERE,))

    def origins(self) -> Origins:
        lease = Lease("eth0", HERE, (THERE,), (), 1090.0)
        names = {
            "files.corp.example": NameOrigin("DNS", 40.0, "IPv6 addresses: the name servers do not answer"),
            "gone.corp.example": NameOrigin("", 8.0, "the name has no address"),
            "here.corp.example": NameOrigin("/etc/hosts"),
        }
        return Origins("/etc/resolv.conf", (HeldLease(lease, "eth0", Path("/var/lib/dhcp/dhclient.leases")),), names)

    def watch(self, changed: Callable[[], None]) -> None:
        changed()


class Engine:
    """One established SA, until it is deleted."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.views: tuple[IkeSaView, ...] = ()
        self.answers = True

    def handle(self, event: Event, now: float) -> Sequence[Effect]:
        assert now > 0
        self.heard.append(event)
        if isinstance(event, Delete):
            self.views = ()
        if isinstance(event, Initiate) and self.answers:
            self.views = (ike_sa(event.reqid, now),)
        return ()

    def next_deadline(self) -> float | None:
        return None

    def ike_sas(self) -> tuple[IkeSaView, ...]:
        return self.views

    def each_ike_sa(self, remote: Address | None = None, spi: bytes = b"") -> Iterator[IkeSaView]:
        of_peer = [one for one in self.views if remote in (None, one.remote.address)]
        return iter(of_peer if not spi else [one for one in of_peer if spi in own_spis(one)])

    def own_spi(self, spi: bytes) -> bytes:
        return own if (own := self._at_other_end().get(spi, spi)) in self._own() else b""

    def _own(self) -> list[bytes]:
        return [spi for view in self.views for spi in own_spis(view)]

    def _at_other_end(self) -> dict[bytes, bytes]:
        children = [child for view in self.views for child in view.children]
        ends = {child.spi_out.to_bytes(4): child.spi_in.to_bytes(4) for child in children}
        return ends | {view.remote_spi: view.local_spi for view in self.views}

    def suspect(self, remote: Address, now: float) -> bool:
        del remote, now
        return False

    def totals(self) -> tuple[int, int]:
        return len(self.views), sum(len(view.children) for view in self.views)

    def counters(self) -> dict[str, int]:
        return {"malformed": 2, "replayed": 0}


def own_spis(view: IkeSaView) -> list[bytes]:
    return [view.local_spi, *(child.spi_in.to_bytes(4) for child in view.children)]


def ike_sa(reqid: int, now: float) -> IkeSaView:
    selector = Selector(Prefix.host(HERE), Prefix.host(THERE))
    child = ChildSaView(ProtocolId.ESP, 0xA1, 0xB2, reqid, (selector,), "installed", now)
    return IkeSaView(
        b"L" * 8,
        b"R" * 8,
        Endpoint(HERE, 500),
        Endpoint(THERE, 500),
        True,
        "established",
        "protect",
        str(HERE),
        str(THERE),
        (Transform(1, 20, 128),),
        now,
        now + 100,
        now + 5000,
        (child,),
    )


class Place:
    """A house with everything around it in memory."""

    def __init__(
        self,
        policy_files: PolicyFiles | None = None,
        *,
        directory: PolicyFiles | None = None,
        files: StoreFiles | None = None,
        read_secret: SecretReader = lambda _: b"",
    ) -> None:
        self.kernel, self.facts, self.engine, changes = Kernel(), Facts(), Engine(), Changes()
        self.overlay, self.boot = NO_OVERLAY, BootState(BootMode.STATEFUL, (), True, {}, False)
        core = Core(self.engine, lambda _: None, Faults(lambda _: None), changes.happened)
        enforcement = Enforcement(self.kernel, self.facts, lambda plan, _: core.post(PlanChanged(plan)), lambda: 1000.0)
        self.told: list[Notice] = []
        self.stores = Stores(
            enforcement,
            {
                store: one
                for store, one in ((Store.DIRECTORY, directory), (Store.LOCAL, policy_files))
                if one is not None
            },
            files,
            read_secret=read_secret,
            tell=self.told.append,
            clock=lambda: 1000.0,
        )
        self.house = House(
            engine=self.engine,
            core=core,
            enforcement=enforcement,
            stores=self.stores,
            facts=self.facts,
            overlay=lambda: self.overlay,
            ledger=Ledger(lambda: 1000.0),
            sas=self.kernel,
            changes=changes,
            counters=lambda: {"ike": self.engine.counters(), "hold": {"waiting": 1}},
            filter_counters=lambda table: {
                one.name: {key: Counted(2, 120) for key in one.elements} for one in table.maps
            },
            boot=lambda: self.boot,
            degraded=lambda: (*self.kernel.degraded, *self.stores.degraded()),
            clocks=lambda: Clocks(asyncio.get_running_loop().time(), 1000.0),
            since=900.0,
            tickets=TicketKeyring(None, core.post, self.told.append),
        )

    async def do(self, command: str, **arguments: Any) -> Json:
        answer = await whole(await TABLE[command](self.house, arguments))
        for name, kind in BY_NAME[command].answer.items():
            assert name in answer, f"{command} answers no {name}"
            assert answer[name] is None or isinstance(answer[name], kind), name
        return answer

    async def refused(self, command: str, **arguments: Any) -> ControlError:
        with pytest.raises(ControlError) as caught:
            await TABLE[command](self.house, arguments)
        return caught.value


async def whole(answer: Json) -> Json:
    """An answer as it arrives."""
    message: Json = {"ok": True, "answer": answer}
    arrived: Json = json.loads(b"".join([piece async for piece in pieces(message)]))
    return arrived["answer"]  # type: ignore[no-any-return]  # as it was made


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 10)

    asyncio.run(bounded())


def text(render: Callable[..., str], *arguments: Any) -> str:
    return render(*arguments, Output(io.StringIO(), io.StringIO()))


def test_every_command_of_the_table_has_its_function() -> None:
    assert set(TABLE) == set(BY_NAME)


def test_apply_puts_a_policy_into_the_kernel_and_tells_the_engine() -> None:
    async def scenario() -> None:
        place = Place()
        answer = await place.do("apply", text=POLICY, file="/p.yaml")
        assert (answer["policy"], answer["replaced"]) == ("Office", None)
        assert [type(event) for event in place.engine.heard] == [PlanChanged]
        assert place.kernel.plans[0].policy == "Office"
        assert "policy 'Office' is in force" in text(show.applied, answer)

    run(scenario)


def test_a_bad_policy_tells_every_problem_and_the_running_one_stays() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        error = await place.refused("apply", text=BAD, file="/bad.yaml")
        assert error.code == "bad-policy"
        assert [(p["line"], p["file"]) for p in error.details["problems"]] == [(5, "/bad.yaml"), (7, "/bad.yaml")]
        assert all(p["remedy"] for p in error.details["problems"])
        assert len(place.kernel.plans) == 1
        assert (await place.do("status"))["policy"]["file"] == "/p.yaml"
        assert "/bad.yaml:5:" in text(show.problems, error.details["problems"])

    run(scenario)


NAMED = POLICY.replace("dstaddr: 10.1.0.0/16", "dstaddr: Files.Corp.Example")


def test_names_of_a_policy_are_followed_from_before_it_is_compiled_until_it_is_replaced() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=NAMED, file="/p.yaml")
        other = NAMED.replace("Files", "Mail").replace("assign: yes", "assign: yes\n    unresolved: block")
        await place.do("apply", text=other, file="/o.yaml", allow_lockout=True)
        files, mail = "files.corp.example", "mail.corp.example"
        assert place.facts.wanted == [
            ([files], False),
            ([files], False),
            ([files, mail], True),
            ([mail], True),
        ]

    run(scenario)


def test_names_of_a_policy_that_is_compared_are_looked_up_and_not_followed() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY.replace("10.1.0.0/16", str(THERE)), file="/p.yaml")
        answer = await place.do("diff", text=NAMED, file="/n.yaml")
        assert answer["equal"], answer
        assert place.facts.wanted == [([], False), ([], False)]

    run(scenario)


def test_names_of_a_policy_that_the_kernel_refused_are_forgotten() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=NAMED, file="/p.yaml")
        place.kernel.refuse = "Other"
        await place.refused("apply", text=NAMED.replace("Office", "Other").replace("Files", "Mail"), file="/o.yaml")
        assert place.facts.wanted[-2:] == [
            (["files.corp.example", "mail.corp.example"], False),
            (["files.corp.example"], False),
        ]

    run(scenario)


CONFLICT = """
version: 1
filterlists:
  - name: files
    filters: [{srcaddr: me, dstaddr: 10.1.0.0/16, protocol: tcp, dstport: 445}]
  - name: mail
    filters: [{srcaddr: me, dstaddr: 10.1.0.0/16, protocol: tcp, dstport: 25}]
filteractions:
  - {name: require, action: negotiate}
policies:
  - name: Office
    assign: yes
    rules:
      - {name: files, filterlist: files, filteraction: require, psk: "correct horse battery staple"}
      - {name: mail, filterlist: mail, filteraction: require, psk: "another secret for the same peers"}
"""


def test_a_policy_that_locks_out_is_refused_unless_told() -> None:
    shut = POLICY.replace("srcaddr: me, dstaddr: 10.1.0.0/16", "srcaddr: any, dstaddr: me").replace(
        "negotiate", "block"
    )
    shut = shut.replace(', psk: "correct horse battery staple"', "")

    async def scenario() -> None:
        place = Place()
        error = await place.refused("apply", text=shut, file="/p.yaml")
        assert [each["message"][:28] for each in error.details["problems"]] == ["nobody can reach TCP port 22"]
        assert place.kernel.plans == []
        answer = await place.do("apply", text=shut, file="/p.yaml", allow_lockout=True)
        assert [each["severity"] for each in answer["warnings"]] == ["warning"]
        await place.do("apply", text=shut + "config: {allow_lockout: yes}\n", file="/p.yaml")
        assert len(place.kernel.plans) == 2

    run(scenario)


def test_assigning_nothing_filters_nothing_and_says_so() -> None:
    async def scenario() -> None:
        place = Place()
        place.kernel.refuse = "a policy of this name"
        answer = await place.do("apply", text=POLICY.replace("assign: yes", "assign: no"), file="/p.yaml")
        assert (answer["policy"], answer["filters"]) == (None, 0)
        assert any("no policy is assigned" in each["message"] for each in answer["warnings"])

    run(scenario)


def test_diff_compares_a_policy_with_the_one_in_force_and_changes_nothing() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        wider = POLICY.replace("10.1.0.0/16", "10.0.0.0/15")
        same, there, back = [
            await place.do("diff", text=text, file="/new.yaml", running=running)
            for text, running in ((POLICY, "old"), (wider, "old"), (wider, "new"))
        ]
        assert same["equal"]
        assert (there["kinds"], back["kinds"]) == ({"new-protected": 2}, {"new-clear": 2, "unprotected": 2})
        assert there["changes"][0]["new"]["at"].startswith("/new.yaml:5:")
        assert (await place.refused("diff", text=BAD, file="/bad.yaml")).code == "bad-policy"
        assert (await place.refused("diff", text=POLICY, file="/p.yaml", running="not")).code == "usage"
        assert len(place.kernel.plans) == 1

    run(scenario)


def test_what_only_the_compiler_finds_is_refused_as_well() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        error = await place.refused("apply", text=CONFLICT, file="/conflict.yaml")
        (problem,) = [one for one in error.details["problems"] if one["severity"] == "error"]
        assert problem["file"] == "/conflict.yaml"
        assert len(place.kernel.plans) == 1

    run(scenario)


def test_warnings_of_the_compiler_are_told() -> None:
    async def scenario() -> None:
        block = POLICY.replace("me, dstaddr: 10.1.0.0/16", "any, dstaddr: me").replace("negotiate", "block")
        answer = await Place().do("apply", text=block, file="/block.yaml", allow_lockout=True)
        assert any("port 22" in warning["message"] for warning in answer["warnings"])
        assert "port 22" in text(show.applied, answer)

    run(scenario)


def test_octets_that_are_no_utf8_are_a_problem_with_a_place() -> None:
    async def scenario() -> None:
        octets = POLICY.encode().replace(b"Office", b"Off\xffice")
        error = await Place().refused("apply", text=octets.decode("utf-8", "surrogateescape"), file="/p.yaml")
        assert error.details["problems"][0]["line"] == 9
        error = await Place().refused("apply", text=POLICY.replace("Office", "Off\ud800ice"), file="/\ud800")
        assert error.details["problems"][0]["message"] == "character U+D800 is not allowed in YAML"

    run(scenario)


def test_a_policy_that_the_kernel_refuses_is_rolled_back() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        place.kernel.refuse = "Other"
        error = await place.refused("apply", text=POLICY.replace("name: Office", "name: Other"), file="/o.yaml")
        assert error.code == "kernel-refused"
        assert [plan.policy for plan in place.kernel.plans] == ["Office", "Office"]
        assert (await place.do("status"))["policy"]["name"] == "Office"

    run(scenario)


def test_facts_are_shown_with_where_they_were_read() -> None:
    async def scenario() -> None:
        place = Place()
        names: dict[str, tuple[Address, ...]] = {"files.corp.example": (THERE,), "here.corp.example": (THERE,)}
        place.facts.now = replace(place.facts.now, dns_servers=(THERE,), dhcp_servers=(THERE,), names=names)
        await place.do("apply", text=POLICY, file="/p.yaml")
        answer = await place.do("facts")
        assert answer["sources"]["leases"][0]["file"] == "/var/lib/dhcp/dhclient.leases"
        assert text(facts_text, answer, 1000.0).splitlines() == [
            "me               10.1.0.5/16  [kernel, eth0 (lan)]",
            "default-gateway  none  [kernel]",
            "dns-servers      10.1.0.9  [/etc/resolv.conf]",
            "dhcp-server      10.1.0.9  [/var/lib/dhcp/dhclient.leases, eth0, for 1m 30s]",
            "wins-servers     none  [no lease names one]",
            "files.corp.example 10.1.0.9  [DNS, asked again in 40s]",
            "    IPv6 addresses: the name servers do not answer",
            "gone.corp.example none",
            "    the name has no address; asked again in 8s",
            "here.corp.example 10.1.0.9  [/etc/hosts]",
        ]
        ends = {Address.parse("198.51.100.2"): Address.parse("198.51.100.3")}
        place.facts.now = replace(place.facts.now, redirects=ends)
        await place.house.enforcement.refresh()
        lines = text(facts_text, await place.do("facts"), 1000.0).splitlines()
        assert lines[-1] == "tunnel 198.51.100.2 198.51.100.3  [IKE: that gateway sends us there]"

    run(scenario)


def test_changed_facts_are_compiled_and_equal_ones_touch_nothing() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        assert not await place.house.enforcement.refresh()
        place.facts.now = facts_of(Address.parse("10.1.0.6"))
        assert await place.house.enforcement.refresh()
        assert [len(place.kernel.plans), len(place.engine.heard)] == [2, 2]
        assert (await place.do("facts"))["facts"]["interfaces"][0]["addresses"] == ["10.1.0.6/16"]

    run(scenario)


def test_reload_reads_the_file_of_the_command_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        place = Place(PolicyFiles(str(tmp_path / "policy.yaml")))
        assert (await place.refused("reload")).code == "unreadable"
        (tmp_path / "policy.yaml").write_text(POLICY)
        assert (await place.do("reload"))["policy"] == "Office"
        assert (await Place().refused("reload")).code == "no-file"

    run(scenario)


SITE = POLICY.replace("version: 1\n", "version: 1\ninclude: [lists/site.yaml]\n").replace("10.1.0.0/16", "'${net}'")
SITE_LISTS = "version: 1\nfilterlists: [{name: site, filters: [{srcaddr: me, dstaddr: 10.3.0.0/16}]}]\n"


def test_reload_reads_included_files_and_values_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        names = [tmp_path / name for name in ("policy.yaml", "values.yaml", "lists/site.yaml")]
        policy, values, site = names
        site.parent.mkdir()
        for path, content in zip(names, (SITE, "net: 10.1.0.0/16\n", SITE_LISTS), strict=True):
            path.write_text(content)
        place = Place(PolicyFiles(str(policy), {}, (str(values),)))
        await place.do("reload")
        values.write_text("net: [10.1.0.0/16, 10.2.0.0/16]\n")
        assert (await place.do("reload"))["filters"] == 4
        values.write_text("net: 10.1.0.0/33\n")
        assert "'33' is no prefix length" in (await place.refused("reload")).details["problems"][0]["message"]
        values.write_text("net: []\n")
        assert (await place.refused("reload")).details["problems"][0]["file"] == str(values)
        values.write_text("net: 10.1.0.0/16\n")
        site.unlink()
        (problem,) = (await place.refused("reload")).details["problems"]
        assert (problem["file"], problem["line"]) == (str(policy), 3)
        assert "No such file" in problem["message"]
        assert len(place.kernel.plans) == 2

    run(scenario)


def test_a_request_brings_its_files_and_values(tmp_path: Path) -> None:
    """What a client names and does not send is not looked for on this host, however it names it."""
    there = tmp_path / "site.yaml"
    there.write_text(SITE_LISTS)

    async def scenario() -> None:
        place = Place()
        sent: Json = {"text": SITE, "file": "/etc/p.yaml", "variables": {"net": ["10.1.0.0/16", "10.2.0.0/16"]}}
        files = {"/etc/lists/site.yaml": SITE_LISTS}
        assert (await place.do("apply", **sent, files=files))["filters"] == 4
        answer = await place.do("diff", **sent, files={"/etc/lists/site.yaml": SITE_LISTS})
        assert answer["equal"]
        for name in (str(there), f"../..{there}", "lists/site.yaml"):
            sent["text"] = SITE.replace("lists/site.yaml", name)
            (problem,) = (await place.refused("apply", **sent)).details["problems"]
            assert "it was not sent along" in problem["message"]
        assert len(place.kernel.plans) == 1

    run(scenario)


def test_status_and_sas_say_what_stands_and_what_fails() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        place.kernel.degraded = ("foreign policy ahead of ours",)
        failure = Notice(Level.WARNING, "no-proposal", "nothing in common", {"peer": "10.1.0.7", "ours": "a"}, "agree")
        place.house.ledger.heard(failure)
        await place.do("initiate", remote="10.1.0.9")
        status = await place.do("status")
        assert (status["state"], status["ike_sas"], status["child_sas"]) == ("degraded", 1, 1)
        assert status["peers"][0]["fields"]["ours"] == "a"
        shown = text(show.status, status, 1060.0)
        for part in ("Office", "foreign policy ahead of ours", "10.1.0.7", "1m ago", "nothing in common", "agree"):
            assert part in shown
        sas = await place.do("sas")
        child = sas["child_sas"][0]
        assert (child["spi_in"], child["rule"], child["octets_in"], child["packets_out"]) == (
            "000000a1",
            "protect",
            4096,
            5,
        )
        shown = text(show.sas, sas)
        for part in ("10.1.0.9:500", "000000a1", "4.0 KiB", "8.0 KiB", "protect"):
            assert part in shown

    run(scenario)


SSH = BootExemption(6, inbound=True, dport=22)
WHOLE = {"boot.nft": BootMode.STATEFUL, "block.nft": BootMode.BLOCK}


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (
            BootState(BootMode.STATEFUL, (SSH,), True, WHOLE, False),
            "boot:    stateful saved, checksum ok; exemptions: tcp:0:22:inbound\n",
        ),
        (
            BootState(BootMode.STATEFUL, (), True, WHOLE | {"boot.nft": "damaged"}, False),
            "boot:    boot.nft damaged: the next start blocks all but exemptions; exemptions: none\n",
        ),
        (
            BootState(BootMode.PERMIT, (), False, dict.fromkeys(WHOLE, "missing"), False),
            "boot:    nothing saved: this host never had a policy; exemptions: none\n",
        ),
        (
            BootState(BootMode.BLOCK, (), False, {}, True),
            "boot:    not saved (no state directory); exemptions: none; the filter of this start stands beside",
        ),
    ],
    ids=["whole", "damaged", "fresh host", "started by hand"],
)
def test_status_says_what_the_next_start_of_the_system_loads(state: BootState, shown: str) -> None:
    async def scenario() -> None:
        place = Place()
        place.boot = state
        answer = await place.do("status")
        assert shown in text(show.status, answer, 1060.0)
        assert answer["boot"]["loaded"] is state.loaded
        if state.saved == WHOLE:
            assert answer["boot"]["files"]["block.nft"] == {"variant": "block", "checksum": "ok"}

    run(scenario)


def test_delete_and_rekey_take_either_end_of_an_sa_and_refuse_strangers() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        await place.do("initiate", remote="10.1.0.9", wait=1)
        for spi in ("000000a1", "0x000000B2"):
            await place.do("rekey", spi=spi)
        await place.do("rekey", spi=(b"R" * 8).hex())
        assert place.engine.heard[-3:] == [Rekey(b"\0\0\0\xa1"), Rekey(b"\0\0\0\xa1"), Rekey(b"L" * 8)]
        for spi in ("0", "zz", "000000ff", "4c"):
            assert (await place.refused("delete", spi=spi)).code == "unknown-spi"
        assert (await place.do("delete", spi="all", wait=1)) == {"deleted": 2, "gone": True}

    run(scenario)


def test_one_that_goes_while_its_rekey_waits_for_it_is_not_told_to_be_rekeyed() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        await place.do("initiate", remote="10.1.0.9", wait=1)
        (view,) = place.engine.views
        children = tuple(one._replace(state="awaited") for one in view.children)
        place.engine.views = (view._replace(children=children),)
        waiting = asyncio.ensure_future(place.refused("rekey", spi="000000a1", wait=60))
        await asyncio.sleep(0)
        place.engine.views = ()
        place.house.changes.happened()
        assert (await waiting).code == "unknown-spi"

    run(scenario)


def test_initiate_finds_the_rule_or_says_that_there_is_none() -> None:
    async def scenario() -> None:
        place = Place()
        assert (await place.refused("initiate", remote="10.1.0.9")).code == "no-policy"
        await place.do("apply", text=POLICY, file="/p.yaml")
        answer = await place.do("initiate", remote="10.1.0.9", wait=5)
        assert (answer["rule"], answer["local"], answer["established"]) == ("protect", "10.1.0.5", True)
        for arguments in ({"remote": "192.0.2.1"}, {"remote": "10.1.0.9", "rule": "none"}, {"remote": "fd00::1"}):
            assert (await place.refused("initiate", **arguments)).code == "no-filter"
        assert (await place.refused("initiate", remote="ten")).code == "bad-address"

    run(scenario)


TUNNEL = """
version: 1
filterlists:
  - {name: there, filters: [{srcaddr: 10.2.0.0/16, dstaddr: 10.3.0.0/16, mirrored: no}]}
  - {name: back, filters: [{srcaddr: 10.3.0.0/16, dstaddr: 10.2.0.0/16, mirrored: no}]}
filteractions:
  - name: require
policies:
  - name: Site
    assign: yes
    rules:
      - {name: out, filterlist: there, filteraction: require, tunnel: 192.0.2.9, psk: "correct horse battery staple"}
      - {name: in, filterlist: back, filteraction: require, tunnel: 10.1.0.5, psk: "correct horse battery staple"}
"""


def test_a_tunnel_is_initiated_with_its_gateway_and_not_with_what_is_behind_it() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=TUNNEL, file="/p.yaml")
        answer = await place.do("initiate", remote="192.0.2.9")
        assert (answer["rule"], answer["local"], answer["remote"]) == ("out", "10.1.0.5", "192.0.2.9")
        for arguments in ({"remote": "10.3.0.1"}, {"remote": "192.0.2.9", "local": "10.1.0.6"}):
            assert (await place.refused("initiate", **arguments)).code == "no-filter"

    run(scenario)


def test_a_failure_ends_the_wait_of_initiate_with_the_peers_reason() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        place.engine.answers = False
        waiting = asyncio.ensure_future(place.refused("initiate", remote="10.1.0.9", wait=5))
        await asyncio.sleep(0)
        place.house.ledger.heard(Notice(Level.WARNING, "auth-failed", "wrong key", {"peer": "10.1.0.9"}, "same key"))
        place.house.changes.happened()
        error = await waiting
        assert (error.code, str(error), error.remedy) == ("failed", "wrong key", "same key")

    run(scenario)


def test_explain_and_plan_speak_of_the_policy_in_force() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        packet = "direction=out src=10.1.0.5 dst=10.1.0.9 protocol=tcp dport=80"
        answer = await place.do("explain", packet=packet)
        assert (answer["verdict"], answer["rule"]) == ("negotiate", "protect")
        assert (await place.refused("explain", packet="direction=up")).code == "bad-packet"
        assert "correct horse" not in json.dumps(await place.do("plan"))
        assert (await place.do("counters"))["counters"]["ike"] == {"malformed": 2, "replayed": 0}
        assert (await place.do("version"))["since"] == 900.0

    run(scenario)


def test_filters_tells_what_each_has_decided() -> None:
    async def scenario() -> None:
        place = Place()
        assert (await place.refused("filters")).code == "no-policy"
        await place.do("apply", text=POLICY, file="/p.yaml")
        answer = await place.do("filters", top=1)
        (first,) = answer["filters"]
        assert (first["rule"], first["action"], first["at"]) == ("protect", "negotiate", "/p.yaml:5:15")
        assert (first["packets"], first["octets"], answer["unused"]) == (answer["packets"], answer["octets"], 0)
        assert first["packets"] == 2 * sum(len(one.elements) for one in place.kernel.plans[-1].nft.maps if one.counted)
        assert (await place.do("filters", unused=True))["filters"] == []

    run(scenario)


def test_explain_tells_of_a_soft_sa_that_is_open_now() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do(
            "apply", text=POLICY.replace("action: negotiate", "action: negotiate, soft: yes"), file="/p.yaml"
        )
        plan = place.kernel.plans[-1]
        hosts = Selector(Prefix.host(HERE), Prefix.host(THERE))
        packet = "direction=out src=10.1.0.5 dst=10.1.0.9 protocol=tcp dport=80"
        assert (await place.do("explain", packet=packet))["verdict"] == "negotiate"
        place.overlay = soft_part(plan, [one for one in plan.filters if one.reqid], hosts)
        assert (await place.do("explain", packet=packet))["verdict"] == "permit"

    run(scenario)


def test_waiting_ends_with_the_change_or_with_the_time() -> None:
    async def scenario() -> None:
        changes, true = Changes(), [False]
        waiting = asyncio.ensure_future(changes.until(lambda: true[0], 5))
        await asyncio.sleep(0)
        changes.happened()
        await asyncio.sleep(0)
        assert not waiting.done()
        true[0] = True
        changes.happened()
        assert await waiting
        assert not await changes.until(lambda: False, 0)

    run(scenario)


def test_ages_and_amounts_read_well() -> None:
    assert [show.duration(s) for s in (0, 59.9, 3660, 90061, -1, None)] == ["0s", "59s", "1h 1m", "1d 1h", "0s", "-"]
    assert [show.octets(n) for n in (0, 1023, 1536, 5 << 30, 7 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "7.0 TiB",
    ]


def test_of_one_peer_or_spi_no_more_is_shown_and_the_kernel_asked_for_no_more() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        one = ike_sa(7, 1.0)
        other = one._replace(local_spi=b"l" * 8, remote=Endpoint(HERE, 500), children=())
        place.engine.views = (one, other)
        assert len((await place.do("sas"))["ike_sas"]) == 2
        assert place.kernel.asked == ["all"]
        for arguments in ({"remote": str(THERE)}, {"spi": "000000a1"}, {"spi": "0x000000A1"}, {"spi": "4C" * 8}):
            place.kernel.asked.clear()
            answer = await place.do("sas", **arguments)
            assert [ike["spi_local"] for ike in answer["ike_sas"]] == ["4c" * 8], arguments
            assert [child["octets_out"] for child in answer["child_sas"]] == [8192]
            assert place.kernel.asked == ["a1", "b2"]
        assert await place.do("sas", remote="10.1.0.77") == {"ike_sas": [], "child_sas": []}
        assert await place.do("sas", remote=str(HERE), spi="000000a1") == {"ike_sas": [], "child_sas": []}
        assert (await place.refused("sas", remote="10.1.0.0/16")).code == "bad-address"
        for spi in ("000000a2", "a1", "x" * 8, "ab cd"):
            assert (await place.refused("sas", spi=spi)).code == "unknown-spi"

    run(scenario)


def test_many_sas_are_listed_some_at_a_time() -> None:
    async def scenario() -> None:
        place = Place()
        await place.do("apply", text=POLICY, file="/p.yaml")
        place.engine.views = (ike_sa(7, 1.0),) * (20 * limits.SHOWN_AT_ONCE + 1)
        listed = pieces({"ok": True, "answer": await TABLE["sas"](place.house, {})})
        found = [piece async for piece in listed]
        assert max(piece.count(b"spi_remote") + piece.count(b"spi_in") for piece in found) == limits.SHOWN_AT_ONCE
        answer = json.loads(b"".join(found))["answer"]
        assert len(answer["ike_sas"]) == len(answer["child_sas"]) == 20 * limits.SHOWN_AT_ONCE + 1
        assert answer["child_sas"][-1]["octets_in"] == 4096

    run(scenario)
