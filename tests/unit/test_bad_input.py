# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input of every class, one table a class: each is refused (or told) at its place, in clear words, with a remedy.

What the tables share with the tests of the single parts is deliberate: here the question is whether a class is whole.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.unit.policy_text import GOOD, SECOND_TUNNEL, SECRET, TUNNEL, changed, problems_of, with_filter
from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.model.source import Severity
from xfrmd.policy import PolicyErrors, load


class Bad(NamedTuple):
    """A bad input: its text, where the problem is, and pieces of the message and of the remedy."""

    text: str | bytes
    line: int
    column: int
    message: str
    remedy: str


def f(filter_: str, column: int, message: str, remedy: str) -> Bad:
    """A bad filter, in line 5 of the good policy."""
    return Bad(with_filter(filter_), 5, column, message, remedy)


def src(value: str, message: str, remedy: str) -> Bad:
    """A bad source address."""
    return f(f"{{srcaddr: {value}, dstaddr: any}}", 19, message, remedy)


def port(value: str, message: str, remedy: str) -> Bad:
    """A bad destination port."""
    return f(f"{{srcaddr: me, dstaddr: any, protocol: tcp, dstport: {value}}}", 61, message, remedy)


def rule(line: str, column: int, message: str, remedy: str) -> Bad:
    """A bad line at the end of the one rule."""
    return Bad(f"{GOOD}        {line}\n", 17, column, message, remedy)


def policy(line: str, column: int, message: str, remedy: str) -> Bad:
    """A bad line in the one policy."""
    return Bad(changed("assign: yes", f"assign: yes\n    {line}"), 12, column, message, remedy)


def action(line: str, column: int, message: str, remedy: str) -> Bad:
    """A bad line in the one filter action."""
    return Bad(changed("action: negotiate", f"action: negotiate\n    {line}"), 9, column, message, remedy)


def tunnels(old: str, new: str, place: tuple[int, int], message: str, remedy: str) -> Bad:
    """Two rules that are a good tunnel, with a mistake."""
    assert TUNNEL.count(old) == 1
    return Bad(TUNNEL.replace(old, new), *place, message, remedy)


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)
CLASSES: dict[str, list[Bad]] = {
    "unknown keys": [
        Bad(changed("version: 1", "version: 1\nfilterlist: []"), 2, 1, "policy file knows no key", "'filterlists'"),
        f("{srcaddr: me, dstaddr: any, dport: 80}", 37, "filter knows no key 'dport'", "did you mean 'dstport'?"),
        f("{srcaddr: me, dstaddr: any, Protocol: tcp}", 37, "no key 'Protocol'", "did you mean 'protocol'?"),
        f("{srcaddr: me, dstaddr: any, <<: {}}", 37, "no key '<<'", "known here are srcaddr"),
        f("{srcaddr: me, dstaddr: any, ~: 80}", 37, "no key '~'", "known here are srcaddr"),
        f("{srcaddr: me, dstaddr: any, [a]: 80}", 37, "a key must be a plain word", "remove the brackets"),
        rule("filter: x", 9, "rule knows no key 'filter'", "did you mean 'filterlist'?"),
        rule("auths: x", 9, "rule knows no key 'auths'", "did you mean 'auth'?"),
        policy("pollinginterval: 180", 5, "asking a directory for a newer policy is not built yet", "remove it"),
        action("quickmode: x", 5, "filter action knows no key", "known here are name, action"),
        Bad(
            changed("version: 1", "version: 1\nconfig: {exempt: 1}"),
            2,
            10,
            "knows no key",
            "did you mean 'ipsecexempt'",
        ),
    ],
    "duplicate keys": [
        Bad(changed("version: 1", "version: 1\nversion: 1"), 2, 1, "version stands twice", "remove one"),
        f("{srcaddr: me, dstaddr: any, dstaddr: any}", 37, "dstaddr stands twice here, first in line 5", "remove one"),
        rule("name: another", 9, "name stands twice here, first in line 13", "remove one"),
        Bad(changed("version: 1", "version: 1\ninclude: [a]\ninclude: [b]"), 3, 1, "include stands twice", "remove"),
        Bad(changed("version: 1", "version: 1\nvariables: {a: 1, a: 2}"), 2, 19, "variable a stands twice", "remove"),
    ],
    "anchors, aliases, tags": [
        Bad(BOMB, 1, 5, "anchor &a0 is not allowed", "lists are shared by their names"),
        Bad("a: *x", 1, 4, "alias *x is not allowed", "write the value out"),
        Bad("&x [*x]", 1, 1, "anchor &x is not allowed", "lists are shared"),
        Bad(changed("assign: yes", "assign: !!bool yes"), 11, 13, "tag tag:yaml.org,2002:bool", "remove it"),
        Bad(changed("assign: yes", "assign: !include x"), 11, 13, "tag !include is not allowed", "remove it"),
    ],
    "size and depth": [
        Bad(b"#" * (limits.POLICY_FILE_SIZE + 1), 1, 1, "the file is larger than 64 MiB", "split the policy"),
        Bad("[" * 300_000, 1, 17, "nested deeper than 16 levels", "a policy needs 8 levels"),
        Bad("- " * 100_000 + "a", 1, 33, "nested deeper than 16 levels", "8 levels"),
        Bad("{a: " * 100_000, 1, 65, "nested deeper than 16 levels", "8 levels"),
        policy(f"description: {'x' * 1025}", 18, "1025 characters stand here", "0 to 1024"),
        Bad(changed("name: smb", f"name: {'x' * 256}"), 3, 11, "256 characters stand here", "1 to 255"),
        port(f"[{', '.join(['1'] * 1025)}]", "the list has 1025 entries", "write 1024 at most"),
        src(
            f"[{', '.join(f'10.{n >> 16}.{n >> 8 & 255}.{n & 255}' for n in range(65_537))}]",
            "stands for 65537",
            "subnets and ranges",
        )._replace(column=9),
        rule(f"local_id: {'a.' * 200}b", 19, "is no identity", "write an IP address"),
    ],
    "octets and characters": [
        Bad(b"version: 1\nname: caf\xe9", 2, 10, "octet 0xE9 is not UTF-8", "UTF-8 encoding"),
        Bad(b"\xff\xfev\x00", 1, 1, "octet 0xFF is not UTF-8", "UTF-8 encoding"),
        Bad(b"version: 1\nname: \xed\xa0\x80", 2, 7, "octet 0xED is not UTF-8", "UTF-8 encoding"),
        Bad("a\x00b: 1", 1, 2, "U+0000 is not allowed", "remove it"),
        Bad("version: 1\na: \x1b[0m", 2, 4, "U+001B is not allowed", "remove it"),
        Bad("version: 1\na: \x9b0m", 2, 4, "U+009B is not allowed", "remove it"),
        policy('description: "a\\0b"', 18, "a control character in this text: U+0000", "remove it"),
        policy('description: "a\\x1b[2Jb"', 18, "a control character in this text: U+001B", "remove it"),
        policy('description: "a\\x7fb"', 18, "a control character in this text: U+007F", "remove it"),
        policy('description: "a\\x9b2Jb"', 18, "a control character in this text: U+009B", "remove it"),
        policy('description: "\\u202etimrep"', 18, "a control character in this text: U+202E", "remove it"),
        policy("description: \u2066x", 18, "a control character in this text: U+2066", "remove it"),
        Bad(changed("name: smb\n", 'name: "a\\nb"\n'), 3, 11, "more than one line", "in one line"),
        Bad(changed("name: smb\n", 'name: "a\\u2028b"\n'), 3, 11, "U+2028", "remove it"),
        src('"10.0.0.1\\0"', r"'10.0.0.1\x00' is no address", "write me, any"),
        src('"\\u202e1.0.0.01"', r"'\u202e1.0.0.01' is no DNS name in ASCII", "write me, any"),
        port("\u0668\u0660", "is not a number", "a port such as 80"),
        rule('local_id: "a\\0b"', 19, r"'a\x00b' is no identity", "write an IP address"),
    ],
    "empty": [
        Bad("", 1, 1, "the file is empty", "config/ for examples"),
        Bad("{}", 1, 1, "policy file has no version", "add version"),
        Bad("version: 1\npolicies: []", 2, 11, "the list of policies is empty", "add policies"),
        Bad(
            GOOD[: GOOD.index("      - {srcaddr")].replace("filters:\n", "filters: []\n"),
            4,
            14,
            "filters is empty",
            "add",
        ),
        Bad(
            changed(GOOD[GOOD.index("    rules:") :], "    rules: []\n"), 12, 12, "list of rules is empty", "add rules"
        ),
        src("[]", "the list of addresses is empty", "write any"),
        port("[]", "the list of ports is empty", "remove the key"),
        action("qmsecmethods: []", 19, "list of quick mode methods is empty", "ESP[AES128-GCM]"),
        policy("mmsecmethods: ' '", 19, "list of main mode methods is empty", "AES256-SHA256-DHGroup14"),
        Bad(changed("psk: a shared secret of some length", "auth: []"), 16, 15, "methods is empty", "add"),
        Bad(changed("version: 1", "version: 1\ninclude: []"), 2, 10, "the list of files is empty", "add"),
        Bad(changed("version: 1", "version: 1\nvariables: {a: []}"), 2, 16, "the list is empty", "add values"),
        src("", "there is no value here", "or remove the key"),
        Bad(changed("name: smb\n", 'name: ""\n'), 3, 11, "0 characters stand here", "1 to 255"),
    ],
    "families that do not meet": [
        f("{srcaddr: 10.0.0.1, dstaddr: 'fd00::1'}", 38, "one end is IPv4 and the other IPv6", "one IP version"),
        f("{srcaddr: '::/0', dstaddr: 10.0.0.1}", 36, "one end is IPv6 and the other IPv4", "me or any at one end"),
        f("{srcaddr: [10.0.0.1, 'fd00::1'], dstaddr: 10.0.0.2}", 19, "fd00::1 is IPv6 and the other IPv4", "one"),
        src("'10.0.0.9-fd00::1'", "begins in one IP version and ends in the other", "one version"),
        f("{srcaddr: me, dstaddr: 10.0.0.1, protocol: icmpv6}", 52, "icmpv6 does not run over IPv4", "write icmp"),
        f("{srcaddr: me, dstaddr: 'fd00::1', protocol: icmp, icmptype: 8}", 53, "those of icmpv6", "write icmpv6"),
        f("{srcaddr: 'fd00::', srcmask: 255.0.0.0, dstaddr: any}", 38, "is no mask for srcaddr", "from 0 to 128"),
    ],
    "addresses": [
        src("10.1.0.256", "'10.1.0.256' is no address", "write me, any"),
        src("10.01.0.5", "'10.01.0.5' is no address", "write me, any"),
        src("0x0a.0.0.1", "'0x0a.0.0.1' is no address", "write me, any"),
        src("167772161", "'167772161' is no address", "write me, any"),
        src("0.0.0.0", "no host's address", "write any"),
        src("10.1.0.5/16", "bits behind the prefix /16 are set", "10.1.0.0/16 for the whole subnet, or 10.1.0.5"),
        src("'fd00::1/64'", "bits behind the prefix /64 are set", "fd00::/64 for the whole subnet, or fd00::1"),
        src("10.0.0.0/33", "'33' is no prefix length", "write /0 to /32"),
        src("10.0.0.0/08", "'08' is no prefix length", "write /0 to /32"),
        src("10.0.0.0/255.0.255.0", "'255.0.255.0' is no prefix length", "write /0 to /32"),
        src("10.0.0.9-10.0.0.1", "ends before it begins", "write 10.0.0.1-10.0.0.9"),
        src("10.0.0.5-9", "'9' is no end of a range", "write 10.0.0.5-10.0.0.9"),
        src("10.0.0.5-10.0.0.256", "'10.0.0.256' is no end of a range", "a whole address at both ends"),
        src("'::ffff:10.0.0.1'", "is an IPv4 address in IPv6 form", "write 10.0.0.1"),
        src("'::ffff:0a00:1'", "is an IPv4 address in IPv6 form", "write 10.0.0.1"),
        src("'0:0:0:0:0:FFFF:10.0.0.0/104'", "is an IPv4 address in IPv6 form", "write 10.0.0.0"),
        src("fe80::1%eth0", "a zone is not part of an address", "leave out '%' and zone"),
        src("'fe80::1%1/64'", "a zone is not part of an address", "leave out '%' and zone"),
        src("10.0.0.1:80", "'10.0.0.1:80' is no address alone", "write 10.0.0.1 here, and srcport or dstport: 80"),
        src("'[fd00::1]:80'", "is no address alone", "write fd00::1 here, and srcport or dstport: 80"),
        src("'[fd00::1]'", "is no address alone", "write fd00::1, without brackets"),
        f("{srcaddr: 10.0.0.0, srcmask: 255.0.255.0, dstaddr: any}", 38, "is no mask for srcaddr", "255.255.0.0 or 16"),
        f("{srcaddr: 10.0.0.0/8, srcmask: 8, dstaddr: any}", 40, "has a length already", "remove /8 or srcmask"),
        f("{srcaddr: me, srcmask: 8, dstaddr: any}", 32, "a mask has no meaning beside me", "remove srcmask"),
        rule("tunnel: '::ffff:10.0.0.1'", 17, "is an IPv4 address in IPv6 form", "write 10.0.0.1"),
        rule("tunnel: fe80::1%eth0", 17, "a zone is not part of an address", "leave out '%' and zone"),
        rule("tunnel: 10.0.0.0/8", 17, "neither an address nor a DNS name", "write an address, or a DNS name"),
        rule("tunnel: me", 17, "neither an address nor a DNS name", "write an address, or a DNS name"),
        rule("tunnel: 127.0.0.1", 17, "is loopback, where a tunnel cannot end", "name a gateway"),
        rule("local_id: 10.1.0.300", 19, "'10.1.0.300' is no identity", "write an IP address"),
        rule("remote_id: any", 20, "'any' is a word for addresses, no identity", "write an IP address"),
        rule("remote_id: '%any'", 20, "wildcards are not built yet", "name one identity"),
    ],
    "names": [
        src("host", "'host' is no address", "a DNS name needs a dot"),
        src("-a.example", "'-a.example' is no address", "write me, any"),
        src("a-.example", "'a-.example' is no address", "write me, any"),
        src("a..example", "'a..example' is no address", "write me, any"),
        src(".example", "'.example' is no address", "write me, any"),
        src(f"{'a' * 64}.example", "is no address", "write me, any"),
        src(f"{'a.' * 126}example", "is no address", "write me, any"),
        src("a.123", "'a.123' is no address", "write me, any"),
        src("'*.example'", "'*.example' is no address", "write me, any"),
        src("'a b.example'", "'a b.example' is no address", "write me, any"),
        src("https://a.example", "is a URL", "name or address alone"),
        src("a.example:443", "is no address alone", "write a.example here, and srcport or dstport: 443"),
        src("a.example/24", "a DNS name has no prefix length", "write a.example"),
        src("b\u00fccher.example", "in ASCII letters", "xn--bcher-kva.example"),
        src("dns-server", "'dns-server' is no address", "did you mean 'dns-servers'?"),
        f("{srcaddr: dns-servers, dstaddr: any}", 41, "the other end must be me", "write dstaddr: me"),
    ],
    "numbers and ports": [
        port("65536", "port 65536 does not exist", "0 (any) to 65535"),
        port("0777", "0777 may be read as octal", "write 777; 511 if octal was meant"),
        port("0o777", "'0o777' is not a decimal number", "in decimal digits alone"),
        port("0x50", "'0x50' is not a decimal number", "in decimal digits alone"),
        port("1e9", "'1e9' is not a decimal number", "in decimal digits alone"),
        port("80.0", "'80.0' is not a decimal number", "in decimal digits alone"),
        port("8_0", "'8_0' is not a decimal number", "in decimal digits alone"),
        port("1:30", "'1:30' is not a decimal number", "YAML reads 1:30 as 90"),
        port("+80", "'+80' is not a decimal number", "in decimal digits alone"),
        port("-1", "'-1' is not a decimal number", "in decimal digits alone"),
        port("9" * 5000, "is too large a number", "a port such as 80"),
        port("' 80'", "' 80' is not a number", "a port such as 80"),
        port("80 443", "'80 443' is not a number", "a list such as [80, 443]"),
        port("80-", "'80-' is not a number", "a range such as 8000-8100"),
        port("90-80", "the range 90-80 ends before it begins", "write 80-90"),
        port("80-65536", "port 65536 does not exist", "65535"),
        port("http", "'http' is not a number", "a port such as 80"),
        port("[80, 0]", "any port is meant, and others beside it", "remove the 0"),
        port("{a: b}", "a mapping stands here", "write a port"),
        f("{srcaddr: me, dstaddr: any, dstport: 80}", 46, "needs a protocol that has ports", "protocol: tcp"),
        f("{srcaddr: me, dstaddr: any, protocol: 256}", 47, "protocol 256 does not exist", "0 (any) to 255"),
        f("{srcaddr: me, dstaddr: any, protocol: [tcp, udp]}", 47, "a list stands here", "needs a filter of its own"),
        f("{srcaddr: me, dstaddr: any, protocol: icmp, icmptype: 08}", 63, "read as octal", "write 8"),
        policy("mmlifetime: 8h", 17, "'8h' is not a number", "write a number from 1 to 2879 (minutes)"),
        policy("mmlifetime: 0480", 17, "0480 may be read as octal", "write 480"),
        policy("mmlifetime: 2880", 17, "2880 is not between 1 and 2879", "(minutes)"),
        policy("qmpermm: unlimited", 14, "'unlimited' is not a number", "write a number from 0 to 65535"),
        policy("softsaexpirationtime: 0", 27, "0 is not between 10 and 172799", "(seconds)"),
        action("inpass: 1", 13, "'1' is not yes or no", "write yes or no"),
        policy("mmpfs: on", 12, "'on' is not yes or no", "write yes or no"),
    ],
    "methods": [
        action("qmsecmethods: ESP[DES,MD5]", 19, "encryption DES is too weak", "AES128-GCM"),
        action("qmsecmethods: ESP(AES256)", 19, "this is no quick mode method", "write ESP[AES128-GCM]"),
        action("qmsecmethods: 'ESP[AES256,SHA256],ESP[AES128-GCM]'", 19, "no quick mode method", "put a space"),
        action("qmsecmethods: 'ESP[AES256-GCM]:0100000k'", 19, "'0100000k' is no lifetime", "100000k"),
        action("qmsecmethods: 'ESP[AES256-GCM]:1h'", 19, "'1h' is no lifetime", "100000k/3600s"),
        action("qmsecmethods: 'ESP[AES256-GCM]:9k/1s'", 19, "9k is not possible", "20k to"),
        policy("mmsecmethods: 3DES-SHA256-X25519", 19, "encryption 3DES is too weak", "allow_weak: true"),
        policy("mmsecmethods: 'AES256-SHA256-X25519, AES128-SHA256-X25519'", 19, "no main mode method", "put a space"),
        policy("mmsecmethods: AES256-SHA256-14", 19, "'14' is no group known here", "write DHGroup14"),
    ],
    "overlapping tunnels, and halves": [
        Bad(
            TUNNEL + SECOND_TUNNEL,
            12,
            73,
            "rule 'out' has a tunnel with the same filter",
            "remove one of the two rules",
        ),
        tunnels("198.51.100.2", "10.1.0.5", (10, 71), "'in' is the way back of this tunnel, but names the same", "far"),
        tunnels("name: in,", "name: in, activate: no,", (10, 71), "one half of a tunnel", "add a filter list NEW"),
        tunnels("10.1.0.0/16, mirrored: no", "10.1.0.0/16", (4, 28), "but this filter is mirrored", "mirrored: no"),
        tunnels("10.2.0.0/16, mirrored: no", "10.2.0.0/16, protocol: gre", (3, 29), "all protocols and", "remove"),
    ],
    "contradictions": [
        Bad(changed("filterlist: smb", "filterlist: sbm"), 14, 21, "there is no filter list 'sbm'", "'smb'?"),
        Bad(changed("dstport: 445}", "dstport: 445, mirrored: no}"), 5, 9, "one direction only", "mirrored: yes"),
        Bad(changed("psk: a shared secret of some length", "kerberos: yes"), 16, 19, "no other", "add a psk"),
        Bad(changed("psk: a shared secret of some length", "description: x"), 13, 9, "needs a psk", "psk: {file:"),
        policy("activatedefaultrule: yes", 26, "cannot authenticate anybody", "add defaultrule"),
        Bad(
            changed("srcaddr: me", "srcaddr: any") + "        conntype: lan\n",
            5,
            9,
            "no side here is me",
            "conntype: all",
        ),
    ],
}
ROWS = [(name, row) for name, rows in CLASSES.items() for row in rows]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name} {row.message}"[:70] for name, row in ROWS])
def test_each_is_refused_at_its_place_with_a_remedy(name: str, row: Bad) -> None:
    with pytest.raises(PolicyErrors) as caught:
        load(row.text, "p.yaml", lambda _: SECRET)
    assert isinstance(caught.value, PolicyError), name
    fitting = [one for one in caught.value.problems if row.message in one.message]
    assert fitting, caught.value
    first = fitting[0]
    assert first.severity is Severity.ERROR
    assert (first.at.file, first.at.line, first.at.column) == ("p.yaml", row.line, row.column)
    assert row.remedy in first.remedy
    assert row.text == BOMB or len(caught.value.problems) < 30, "a mistake is not told a thousand times"
    assert max(len(one.message) + len(one.remedy) for one in caught.value.problems) < 600, "nor at any length"
    assert all(char.isprintable() or char == "\n" for char in str(caught.value)), "nor does it reach a terminal raw"


def test_many_mistakes_in_one_file_are_all_told_and_none_is_in_force() -> None:
    """A file of nothing but mistakes: one report each, in the order of the file."""
    filters = [row for row in CLASSES["addresses"] if isinstance(row.text, str) and row.line == 5]
    lines = [str(row.text).splitlines()[4] for row in filters]
    text = GOOD.replace(GOOD.splitlines()[4], "\n".join(lines))
    found = problems_of(text)
    assert [one.at.line for one in found] == list(range(5, 5 + len(lines)))


def test_a_mistake_that_is_made_a_hundred_thousand_times_is_told_so_often_as_one_can_read() -> None:
    bad = "      - {srcaddr: mee, dstaddr: any, dstadr: x}\n"
    found = problems_of(GOOD.replace(GOOD.splitlines(keepends=True)[4], bad * 5000))
    assert len(found) == limits.PROBLEMS_TOLD + 1
    assert found[-1].message == f"{10_000 - limits.PROBLEMS_TOLD} more errors from here on, which are not listed"
    assert found[-1].at.line == 5 + limits.PROBLEMS_TOLD // 2
    assert found[-1].remedy


def test_warnings_by_the_thousand_hide_no_error() -> None:
    loop = "      - {srcaddr: me, dstaddr: 127.0.0.1}\n"
    text = GOOD.replace(GOOD.splitlines(keepends=True)[4], loop * (limits.PROBLEMS_TOLD + 1))
    assert [one.message for one in problems_of(text) if "1 more warning " in one.message]
    found = problems_of(text.replace("filterlist: smb", "filterlist: sbm"))
    assert [one.message for one in found if one.severity is Severity.ERROR] == ["there is no filter list 'sbm'"]
