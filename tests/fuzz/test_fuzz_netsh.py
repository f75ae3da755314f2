# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken scripts of netsh: whatever stands in them, they become a policy that the language takes, or errors with
places. Never anything else, and never in more than bounded time.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.fuzz.mutate import COUNT, SEED
from tests.unit.netsh_cases import BASE, PSK, placeless, split
from xfrmd import limits
from xfrmd.netsh.exporting import export_script
from xfrmd.netsh.importing import import_script
from xfrmd.netsh.run import EXAMPLES
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.resolve import blank

SCRIPTS: Final = COUNT // 500
WHOLE: Final = f"""\
@echo off
rem everything once
netsh ipsec static delete all
netsh ipsec static add filterlist name="there" description="one way"
netsh ipsec static add filter filterlist=there srcaddr=10.1.0.0 srcmask=16 dstaddr=10.2.0.0 dstmask=16 mirrored=no
netsh ipsec static add filter filterlist=back srcaddr=10.2.0.0 srcmask=16 dstaddr=10.1.0.0 dstmask=16 mirrored=no
netsh ipsec static add filter names me files.example protocol=TCP dstport=80
netsh ipsec static add filter names me DNS protocol=UDP dstport=53
netsh ipsec static add filter names me 10.1.0.5-10.1.0.9
netsh ipsec static add filteraction ask qmpfs=yes qmsecmethods="ESP[3DES,SHA1]:100000k/900s ESP[DES,MD5] AH[SHA1]"
netsh ipsec static add filteraction name=pass action=permit
netsh ipsec static add policy Gate mmpfs=yes mmlifetime=60 mmsecmethods="3DES-SHA1-3 3DES-MD5-2" assign=yes
netsh ipsec static add rule out Gate there ask tunnel=198.51.100.2 psk="{PSK}"
netsh ipsec static add rule in Gate back ask tunnel=192.0.2.1 psk="{PSK}"
netsh ipsec static add rule names Gate names ask conntype=lan kerberos=yes psk="{PSK}" rootca="CN=Root certmap:yes"
netsh ipsec static set rule names Gate activate=no conntype=all description="for later"
netsh ipsec static set defaultrule policy=Gate psk="{PSK}" activate=yes
netsh ipsec dynamic set config property=ipsecexempt value=1
netsh ipsec static set policy Gate newname="The gate" >nul
"""
WEAK: Final = BASE.replace("AES256,SHA256", "3DES,SHA1").replace("AES256-SHA256-3", "3DES-SHA1-3")
SEEDS: Final = (BASE, WEAK, WHOLE, EXAMPLES + 'set policy "Server (Request Security)" assign=yes\n')
WORDS: Final = (
    *("me", "any", "DNS", "0.0.0.0", "255.255.255.255", "10.1.0.0", "fd00::1", "::", "a.example"),
    *("10.1.0.9-10.1.0.5", "yes", "no", "0", "1", "65535", "65536", "-1", "99999999999999999999", "x" * 300),
    *("ÿ", "\u2028", "${x}", "$${", "null", "- ", "|", "\t", "\r", "\0", "!tag", "&a", "*a", "{", "}", "[", "]", ","),
    *('"', '""', '" "', "\\", "'", "#", ":", "%", "&", "=", "==", "static", "dynamic", "ipsec", "netsh", "pushd"),
    *("add", "set", "delete", "all", "show", "popd", "..", "exit", "rem", "srcaddr=", "dstmask=", "protocol=", "psk="),
    *("name=", "mirrored=", "tunnel=", "conntype=dialup", "kerberos=yes", "ESP[DES,SHA1]", "AH[MD5]+ESP[DES,None]"),
    *("ESP[None,None]", "ESP[AES256-GCM]:1k/1s", "DES-MD5-1"),
)


def _swap_lines(lines: list[str], dice: random.Random) -> None:
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def _drop_line(lines: list[str], dice: random.Random) -> None:
    if len(lines) > 1:
        del lines[dice.randrange(len(lines))]


def _repeat_line(lines: list[str], dice: random.Random) -> None:
    lines.insert(dice.randrange(len(lines)), dice.choice(lines))


def _change_word(lines: list[str], dice: random.Random) -> None:
    place = dice.randrange(len(lines))
    words = lines[place].split(" ")
    words[dice.randrange(len(words))] = dice.choice(WORDS)
    lines[place] = " ".join(words)


def _change_value(lines: list[str], dice: random.Random) -> None:
    place = dice.randrange(len(lines))
    words = lines[place].split("=")
    number = dice.randrange(len(words))
    words[number] = dice.choice(WORDS) + words[number].partition(" ")[1] + words[number].partition(" ")[2]
    lines[place] = "=".join(words)


def _insert(lines: list[str], dice: random.Random) -> None:
    place = dice.randrange(len(lines))
    column = dice.randrange(len(lines[place]) + 1)
    lines[place] = lines[place][:column] + dice.choice(WORDS) + lines[place][column:]


CHANGES: Final[tuple[Callable[[list[str], random.Random], None], ...]] = (
    *(_swap_lines, _drop_line, _repeat_line),
    *(_change_word, _change_value, _insert) * 2,
)


def scripts() -> Iterator[str]:
    """Scripts with some mutations each, endless."""
    dice = random.Random(SEED)
    while True:
        lines = dice.choice(SEEDS).splitlines()
        for _ in range(dice.choice((1, 1, 1, 2, 3, 10))):
            dice.choice(CHANGES)(lines, dice)
        yield "\n".join(lines) + "\n"


@pytest.mark.timeout(120 + SCRIPTS // 10)
def test_a_broken_script_becomes_a_policy_or_errors_and_nothing_else() -> None:
    made = exported = 0
    for script in (script for _, script in zip(range(SCRIPTS), scripts(), strict=False)):
        try:
            text = import_script(script, "s.txt").text
            if "\npolicies:" not in text:
                continue
            policies = load(text, "p.yaml", blank)
            made += 1
            again = export_script(policies).text
        except PolicyErrors as errors:
            secrets = [str(one) for one in errors.problems if PSK in str(one)]
            if secrets or not errors.problems:
                pytest.fail(f"told of {script!r}: {errors.problems}")
            continue
        back = load(import_script(again, "again.txt").text, "p.yaml", blank)
        assert placeless(back) == placeless(split(policies)), script
        exported += 1
    assert made > SCRIPTS // 10
    assert exported > SCRIPTS // 50


@pytest.mark.timeout(120)
def test_octets_of_any_kind_are_no_accident() -> None:
    dice = random.Random(SEED)
    for _ in range(SCRIPTS // 4):
        octets = bytearray(dice.choice(SEEDS).encode(dice.choice(("utf-8", "utf-16", "cp1252"))))
        for _ in range(dice.randint(1, 6)):
            octets[dice.randrange(len(octets))] = dice.randrange(256)
        with contextlib.suppress(PolicyErrors):
            import_script(bytes(octets), "s.txt")


LINE: Final = limits.NETSH_LINE
HARD: Final = {
    "spaces before a sign": "netsh" + " " * (LINE - 6) + "&\n",
    "many redirections": "netsh " + ">a " * ((LINE - 10) // 3) + "|\n",
    "quotation marks": "add filterlist " + '"' * (LINE - 20) + "\n",
    "nothing but brackets": f'add filteraction a qmsecmethods="{"ESP[" * 2000}"\n',
    "names that nobody has": "".join(f"add rule r{n} policy{n} list action\n" for n in range(20_000)),
    "near names": "".join(f"add filterlist list{n}\n" for n in range(5000)) + "add rule r p lost a\n" * 400,
    "assigned in turn": "".join(f"add policy p{n} assign=yes\n" for n in range(20_000)),
    "deleted again and again": "".join(f"add filter l me 10.0.{n >> 8}.{n & 255}\n" for n in range(20_000))
    + "add filteraction a action=block\nadd policy p\nadd rule r p l a\n"
    + "delete filterlist all\n" * 400,
    "the examples again and again": "restorepolicyexamples win2003\n" * 5000,
    "filters of one pair": "".join(f"add filter l me any protocol=tcp dstport={n + 1}\n" for n in range(20_000))
    + "delete filter l me any protocol=udp\n" * 2000,
}


@pytest.mark.parametrize("name", HARD)
def test_a_hard_script_takes_no_longer_than_its_length_asks(name: str) -> None:
    """Twenty thousand lines are a second's work; what would take minutes is caught by a wide margin."""
    begin = time.process_time()
    with contextlib.suppress(PolicyErrors):
        import_script(HARD[name] if HARD[name].startswith("netsh") else f"pushd ipsec static\n{HARD[name]}", "s.txt")
    assert time.process_time() - begin < 20
