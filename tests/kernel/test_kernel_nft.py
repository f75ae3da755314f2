# SPDX-License-Identifier: GPL-2.0-or-later
"""libnftables through our loader, in the host's own kernel: whole transactions, exact errors, nobody else's tables."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from lab.netns import Host, namespaces
from tests.unit.nft_cases import nft_map
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.nft_listing import differences
from xfrmd.compiler.nft_text import render
from xfrmd.errors import KernelError
from xfrmd.model.nft import Counted, NftChain, NftTable

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)")]

TABLE = NftTable(
    maps=(nft_map("m", "ip saddr & 255.0.0.0 . meta l4proto", {"10.0.0.0 . 6": "drop", "127.0.0.0 . 1": "return"}),),
    chains=(
        NftChain("classify", "", ("ip saddr & 255.0.0.0 . meta l4proto vmap @m", "counter name pass_out accept")),
        NftChain(
            "output",
            "type route hook output priority 250; policy accept;",
            ("meta mark 0x5 meta mark set 0x0 accept", "jump classify", "counter name fence_out drop"),
        ),
    ),
    counters=("pass_out", "fence_out"),
)


@pytest.fixture
def host() -> Iterator[Host]:
    with namespaces("nft") as (made,):
        yield made


@pytest.fixture
def nft(host: Host) -> Iterator[NftLoader]:
    made = host.inside(NftLoader)
    host.inside(made.observe)  # its thread is made here, and stays in the namespace
    yield made
    made.close()


def test_what_is_loaded_is_what_is_there(nft: NftLoader) -> None:
    assert nft.observe() is None
    assert not nft.exists()
    nft.load(render(TABLE))
    assert nft.exists()
    assert differences(TABLE, nft.observe()) == ()


def test_a_check_changes_nothing(nft: NftLoader) -> None:
    nft.check(render(TABLE))
    assert nft.observe() is None
    nft.load(render(TABLE))


def test_errors_come_all_at_once_with_their_places_and_nothing_is_done(nft: NftLoader) -> None:
    nft.load(render(TABLE))
    wrong = (
        "delete table inet xfrmd\ntable inet xfrmd {\n  chain c { jump nowhere; }\n}\nadd rule inet other c accept\n"
    )
    for act in (nft.check, nft.load):
        with pytest.raises(KernelError) as caught:
            act(wrong)
        assert "inet xfrmd:3:18-24: Error" in str(caught.value)
        assert "inet xfrmd:5:15-19: Error" in str(caught.value)
        assert differences(TABLE, nft.observe()) == ()


def test_counters_count(host: Host, nft: NftLoader) -> None:
    assert nft.counters() == {}
    nft.load(render(TABLE))
    assert nft.counters() == {"pass_out": Counted(0, 0), "fence_out": Counted(0, 0)}
    host.run("ip", "link", "set", "lo", "up")
    host.run("ping", "-c", "1", "-W", "1", "127.0.0.1", check=False)
    assert nft.counters()["fence_out"] == Counted(1, 84)
    assert differences(TABLE, nft.observe()) == (), "counts are no difference"


def test_counters_are_read_while_others_change_nftables(host: Host, nft: NftLoader) -> None:
    """So many counters that their dump is several messages, between which others commit."""
    nft.load(render(NftTable(maps=(), chains=(), counters=tuple(f"c{number}" for number in range(200)))))
    before = nft.generation()
    other = host.popen("sh", "-c", "while nft 'add table ip others; delete table ip others'; do :; done")

    def read() -> set[int]:
        found = set()
        while nft.generation() < before + 100:
            found.add(len(nft.counters()))
            assert other.poll() is None
        return found

    try:
        assert host.inside(read) == {200}
    finally:
        other.terminate()
        other.wait()


def test_tables_of_others_stay(host: Host, nft: NftLoader) -> None:
    host.run("nft", "add table ip xfrmd; add table inet firewall; add chain inet firewall input")
    nft.load(render(TABLE))
    nft.load(render(TABLE))
    nft.delete()
    nft.delete()
    assert nft.observe() is None
    listed = host.run("nft", "list", "ruleset").stdout
    assert "table ip xfrmd" in listed
    assert "chain input" in listed


def test_what_others_change_in_our_table_is_seen(host: Host, nft: NftLoader) -> None:
    nft.load(render(TABLE))
    host.run("nft", "insert rule inet xfrmd output accept")
    host.run("nft", "delete element inet xfrmd m { 10.0.0.0 . tcp }")
    found = differences(TABLE, nft.observe())
    assert [one.split(":")[0] for one in found] == ["chain output differs from rule 1 on", "map m"]


def test_without_privilege_the_remedy_is_said(host: Host) -> None:
    script = (
        "from xfrmd.adapters.nft import NftLoader\n"
        "from xfrmd.errors import KernelError\n"
        "try:\n    NftLoader().load('add table inet xfrmd')\n"
        "except KernelError as error:\n    print(error)\n"
    )
    done = host.run("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", ".venv/bin/python", "-c", script)
    assert "CAP_NET_ADMIN" in done.stdout


def test_a_probe_leaves_nothing_behind(host: Host, nft: NftLoader) -> None:
    """A kernel that lacks something says so with the remedy; one that has it all says nothing."""
    refused: KernelError | None = None
    try:
        nft.probe()
    except KernelError as error:
        refused = error
    assert refused is None or (refused.errno == errno.EOPNOTSUPP and "the kernel needs" in str(refused))
    assert host.run("nft", "list", "ruleset").stdout == ""
