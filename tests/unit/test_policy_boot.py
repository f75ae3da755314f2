# SPDX-License-Identifier: GPL-2.0-or-later
"""`bootmode` and `bootexemptions`: what can be written, what is wrong with what cannot, and what Windows calls it."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from tests.unit.policy_text import changed, problems_of, read
from xfrmd import limits
from xfrmd.model.source import Severity
from xfrmd.netsh.exporting import export_script
from xfrmd.policy.boot import exemptions_text
from xfrmd.policy.schema import json_schema
from xfrmd.policy.words import BootExemption, BootMode, Config


def text_with(config: str) -> str:
    return changed("version: 1", f"version: 1\nconfig: {config}")


def config_of(config: str) -> Config:
    return read(text_with(config)).config


def test_without_the_words_the_history_of_the_host_decides_and_nothing_is_exempt() -> None:
    assert (config_of("{}").bootmode, config_of("{}").bootexemptions) == (None, ())


@pytest.mark.parametrize("mode", BootMode)
def test_modes(mode: BootMode) -> None:
    assert config_of(f"{{bootmode: {mode.value.upper()}}}").bootmode is mode


RDP = BootExemption(6, inbound=True, sport=0, dport=3389)
PING = BootExemption(1, inbound=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("none", ()),
        ("None", ()),
        ("[]", ()),
        ("[none]", ()),
        ("tcp:0:3389:inbound", (RDP,)),
        ('"TCP:0:3389:Inbound"', (RDP,)),
        ('"ICMP:inbound TCP:80:80:outbound"', (PING, BootExemption(6, inbound=False, sport=80, dport=80))),
        ("[ICMP:inbound, tcp:0:3389:inbound]", (PING, RDP)),
        ("['icmp:inbound tcp:0:3389:inbound', 'udp:0:53:outbound']", (PING, RDP, BootExemption(17, False, 0, 53))),
        ("47:outbound", (BootExemption(47, inbound=False),)),
        ("RAW:inbound", (BootExemption(255, inbound=True),)),
        ("tcp:0:0:inbound", (BootExemption(6, inbound=True),)),
    ],
)
def test_exemptions(written: str, meant: tuple[BootExemption, ...]) -> None:
    text = text_with(f"{{bootexemptions: {written}}}")
    assert read(text).config.bootexemptions == meant
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("written", "message", "remedy"),
    [
        ("tcp:3389:inbound", "does not name a source and a destination port", "tcp:SOURCE:DESTINATION:inbound"),
        ("tcp:inbound", "does not name a source and a destination port", "0 for any port"),
        ("tcp:0:3389", "ends in neither inbound nor outbound", "tcp:0:22:inbound"),
        ("tcp:0:3389:inbuond", "ends in neither inbound nor outbound", "did you mean 'inbound'?"),
        ("tcp:0:65536:inbound", "65536 is no port", "a destination port from 1 to 65535"),
        ("tcp:x:22:inbound", "'x' is not a number", "a source port from 1 to 65535"),
        ("tcp:022:22:inbound", "022 may be read as octal", "write 22; 18 if octal was meant"),
        ("icmp:8:0:inbound", "names ports, which only tcp and udp have", "write icmp:inbound"),
        ("6:0:22:inbound", "names ports, which only tcp and udp have", "write 6:inbound"),
        ("256:inbound", "256 is no protocol number", "from 1 to 255"),
        ("0:inbound", "0 is no protocol number", "from 1 to 255"),
        ("sctp:inbound", "no protocol 'sctp'", "write its number, 132"),
        ("tpc:0:22:inbound", "no protocol 'tpc'", "did you mean 'tcp'?"),
        ("inbound", "no protocol 'inbound'", "icmp:inbound"),
        ("[none, icmp:inbound]", "none stands beside other exemptions", "remove it, or the others"),
        ("'icmp:inbound ICMP:INBOUND'", "'ICMP:INBOUND' stands twice", "remove one"),
        ("' '", "there is no exemption here", "none, or exemptions such as"),
        ("", "there is no value here", "write none, or exemptions"),
        ("{a: b}", "a mapping stands here", "none, or exemptions such as"),
    ],
)
def test_mistakes(written: str, message: str, remedy: str) -> None:
    problems = problems_of(text_with(f"{{bootexemptions: {written}}}"))
    assert [one.severity for one in problems] == [Severity.ERROR] * len(problems)
    found = problems[0]
    assert message in found.message
    assert remedy in found.remedy
    assert found.at.line == 2


def test_all_mistakes_of_a_list_are_told_each_at_its_place() -> None:
    problems = problems_of(text_with("{bootexemptions: [tcp:0:22:in, icmp:inbound, 0:outbound]}"))
    assert [(one.at.line, one.at.column) for one in problems] == [(2, 27), (2, 54)]


def test_exemptions_are_bounded() -> None:
    many = " ".join(f"tcp:0:{port}:inbound" for port in range(1, limits.BOOT_EXEMPTIONS + 2))
    (problem,) = problems_of(text_with(f"{{bootexemptions: '{many}'}}"))
    assert problem.message == "1025 boot exemptions are too many"
    fits = many.rsplit(" ", 1)[0]
    assert len(config_of(f"{{bootexemptions: '{fits}'}}").bootexemptions) == limits.BOOT_EXEMPTIONS


def test_exemptions_beside_permit_are_warned_of() -> None:
    (problem,) = problems_of(text_with("{bootmode: permit, bootexemptions: icmp:inbound}"))
    assert (problem.severity, problem.at.line) == (Severity.WARNING, 2)
    assert "mean nothing here" in problem.message
    assert problems_of(text_with("{bootmode: block, bootexemptions: icmp:inbound}")) == ()


def test_netsh_says_the_same() -> None:
    policies = read(text_with("{bootmode: block, bootexemptions: [raw:inbound, 'tcp:0:22:inbound', 47:outbound]}"))
    script = export_script(policies).text
    assert "ipsec dynamic set config property=bootmode value=block" in script
    said = exemptions_text(policies.config.bootexemptions)
    assert f'ipsec dynamic set config property=bootexemptions value="{said}"' in script
    assert said == "raw:inbound tcp:0:22:inbound 47:outbound"
