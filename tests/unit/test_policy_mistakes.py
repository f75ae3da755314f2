# SPDX-License-Identifier: GPL-2.0-or-later
"""One mistake at a time: where it is reported, in what words, and how to mend it."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import GOOD, changed, problems_of, with_filter
from xfrmd.model.source import Severity

FILTERS = [
    ("{srcaddr: mee, dstaddr: any}", 19, "'mee' is no address", "did you mean 'me'?"),
    ("{srcaddr: 10.1.0.256, dstaddr: any}", 19, "'10.1.0.256' is no address", "10.1.0.0/16"),
    ("{srcaddr: 10.01.0.5, dstaddr: any}", 19, "'10.01.0.5' is no address", "write me, any"),
    ("{srcaddr: 10.1, dstaddr: any}", 19, "'10.1' is no address", "write me, any"),
    ("{srcaddr: 10.1.0.0/33, dstaddr: any}", 19, "'33' is no prefix length", "write /0 to /32"),
    ("{srcaddr: 10.1.0.0/016, dstaddr: any}", 19, "'016' is no prefix length", "write /0 to /32"),
    ("{srcaddr: 10.1.0.0/, dstaddr: any}", 19, "'' is no prefix length", "write /0 to /32"),
    (
        "{srcaddr: fd00::1/64, dstaddr: any}",
        19,
        "bits behind the prefix /64",
        "fd00::/64 for the whole subnet, or fd00::1",
    ),
    ("{srcaddr: fe80::1%eth0, dstaddr: any}", 19, "a zone is not part", "leave out"),
    ("{srcaddr: '::ffff:10.0.0.1', dstaddr: any}", 19, "IPv4 address in IPv6 form", "write 10.0.0.1"),
    ("{srcaddr: 0.0.0.0, dstaddr: any}", 19, "no host's address", "write any"),
    ("{srcaddr: 10.0.0.9-10.0.0.1, dstaddr: any}", 19, "ends before it begins", "10.0.0.1-10.0.0.9"),
    ("{srcaddr: '10.0.0.9-fd00::1', dstaddr: any}", 19, "one IP version", "one version"),
    ("{srcaddr: host, dstaddr: any}", 19, "'host' is no address", "a DNS name needs a dot"),
    ("{srcaddr: bücher.example, dstaddr: any}", 19, "in ASCII letters", "has it: xn--bcher-kva.example"),
    ("{srcaddr: 'ü..example', dstaddr: any}", 19, "in ASCII letters", "write me, any"),
    ("{srcaddr: '*.example', dstaddr: any}", 19, "'*.example' is no address", "write me, any"),
    ("{srcaddr: -a.example, dstaddr: any}", 19, "'-a.example' is no address", "write me, any"),
    ("{srcaddr: host.example, srcmask: 8, dstaddr: any}", 42, "no meaning beside a DNS name", "remove srcmask"),
    ("{srcaddr: dns-servers, dstaddr: any}", 41, "the other end must be me", "write dstaddr: me"),
    ("{srcaddr: 10.0.0.1, dstaddr: GATEWAY}", 19, "default-gateway stands for", "write srcaddr: me"),
    ("{srcaddr: [me, 10.0.0.1], dstaddr: wins}", 19, "the other end must be me", "write srcaddr: me"),
    ("{srcaddr: DHCP, dstaddr: dns}", 34, "the other end must be me", "write dstaddr: me"),
    ("{srcaddr: [], dstaddr: any}", 19, "the list of addresses is empty", "write any"),
    ("{srcaddr: [10.0.0.1, [10.0.0.2]], dstaddr: any}", 30, "a list stands here", "write me, any"),
    ("{srcaddr: [10.0.0.1, 10.0.0.1/8], dstaddr: any}", 30, "bits behind the prefix", "10.0.0.0/8"),
    ("{srcaddr: [10.0.0.1, mee], dstaddr: any}", 30, "'mee' is no address", "did you mean 'me'?"),
    ("{srcaddr: [10.0.0.1], srcmask: 8, dstaddr: any}", 40, "no meaning beside a list", "remove srcmask"),
    ("{srcaddr: ['fd00::1', 10.0.0.1], dstaddr: 10.0.0.2}", 19, "is IPv6 and the other IPv4", "one IP version"),
    ("{srcaddr: [10.0.0.1], dstaddr: ['fd00::1', 10.0.0.2]}", 40, "is IPv6 and the other IPv4", "one IP version"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: []}", 61, "the list of ports is empty", "remove the key"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: [80, 99999]}", 66, "port 99999 does not", "65535"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: [80, [1]]}", 66, "a list stands here", "a port"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: '80,,81'}", 61, "'' is not a number", "a port such as"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: [80, 0]}", 61, "any port is meant", "remove the 0"),
    ("{srcaddr: me, dstaddr: any, dstport: [80, 81]}", 46, "needs a protocol that has ports", "protocol: tcp"),
    ("{srcaddr: , dstaddr: any}", 19, "there is no value here", "write me, any"),
    ("{srcaddr: ~, dstaddr: any}", 19, "there is no value here", "write me, any"),
    ("{srcaddr: 10.0.0.0/8, srcmask: 8, dstaddr: any}", 40, "has a length already", "remove /8 or srcmask"),
    ("{srcaddr: 10.0.0.0, srcmask: 255.0.255.0, dstaddr: any}", 38, "'255.0.255.0' is no mask", "255.255.0.0 or 16"),
    ("{srcaddr: 'fd00::', srcmask: 255.0.0.0, dstaddr: any}", 38, "is no mask", "a length from 0 to 128"),
    (
        "{srcaddr: 10.0.0.1, srcmask: 8, dstaddr: any}",
        19,
        "bits behind the prefix /8",
        "10.0.0.0/8 for the whole subnet",
    ),
    ("{srcaddr: me, srcmask: 8, dstaddr: any}", 32, "no meaning beside me", "remove srcmask"),
    ("{srcaddr: 10.0.0.1-10.0.0.3, srcmask: 8, dstaddr: any}", 47, "no meaning beside a range", "remove srcmask"),
    ("{srcaddr: 10.0.0.1, dstaddr: 'fd00::1'}", 38, "one end is IPv4", "one IP version"),
    ("{srcaddr: me, dstaddr: 10.0.0.1, protocol: icmpv6}", 52, "icmpv6 does not run over IPv4", "write icmp"),
    ("{srcaddr: me, dstaddr: 'fd00::1', protocol: icmp, icmptype: 8}", 53, "types over IPv6", "write icmpv6"),
    ("{srcaddr: me, dstaddr: any, icmptype: 8}", 47, "needs protocol icmp", "protocol: icmp"),
    ("{srcaddr: me, dstaddr: any, protocol: icmp, icmptype: echo-requst}", 63, "is no type", "'echo-request'"),
    ("{srcaddr: me, dstaddr: any, protocol: icmp, icmptype: 256}", 63, "not between 0 and 255", "0 to 255"),
    ("{srcaddr: me, dstaddr: any, protocol: icmp, icmpcode: 1}", 63, "needs an icmptype", "add icmptype"),
    ("{srcaddr: me, dstaddr: any, protocol: tpc}", 47, "'tpc' is no protocol", "did you mean 'tcp'?"),
    ("{srcaddr: me, dstaddr: any, protocol: 256}", 47, "protocol 256 does not exist", "0 (any) to 255"),
    ("{srcaddr: me, dstaddr: any, protocol: 06}", 47, "may be read as octal", "write 6; 6 if octal"),
    (
        "{srcaddr: me, dstaddr: any, dstport: 80}",
        46,
        "needs a protocol that has ports",
        "protocol: tcp or protocol: udp",
    ),
    ("{srcaddr: me, dstaddr: any, protocol: gre, dstport: 80}", 61, "protocol gre has no ports", "remove dstport"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 65536}", 61, "port 65536 does not exist", "65535"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 1-70000}", 61, "port 70000 does not exist", "65535"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 9-1}", 61, "ends before it begins", "write 1-9"),
    (
        "{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 0777}",
        61,
        "may be read as octal",
        "write 777; 511 if octal",
    ),
    (
        "{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 1:30}",
        61,
        "'1:30' is not a decimal number",
        "YAML reads 1:30",
    ),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 0x1BB}", 61, "is not a decimal number", "decimal digits"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: -1}", 61, "is not a decimal number", "decimal digits"),
    ("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: http}", 61, "'http' is not a number", "a port such as"),
    ("{srcaddr: me, dstaddr: any, mirrored: 1}", 47, "'1' is not yes or no", "write yes or no"),
    ("{srcaddr: me, dstaddr: any, mirrored: on}", 47, "'on' is not yes or no", "write yes or no"),
    (
        "{srcaddr: me, dstaddr: any, mirrored: no}",
        9,
        "negotiates, but this filter knows one direction only",
        "mirrored: yes",
    ),
    ("{srcaddr: me, dstaddr: any, dstadr: any}", 37, "filter knows no key 'dstadr'", "did you mean 'dstaddr'?"),
    ("{srcaddr: me, dstaddr: any, dstaddr: any}", 37, "dstaddr stands twice here", "remove one"),
    ("{srcaddr: me}", 9, "filter has no dstaddr", "add dstaddr"),
    ("me", 9, "expected is a mapping for a filter", "srcaddr, dstaddr"),
    ("{[a]: me, srcaddr: me, dstaddr: any}", 10, "a key must be a plain word", "remove the brackets"),
]


@pytest.mark.parametrize(("text", "column", "message", "remedy"), FILTERS, ids=[row[0] for row in FILTERS])
def test_filters(text: str, column: int, message: str, remedy: str) -> None:
    (problem,) = problems_of(with_filter(text))
    assert (problem.at.line, problem.at.column) == (5, column)
    assert message in problem.message
    assert remedy in problem.remedy
    assert problem.severity is Severity.ERROR


METHODS = [
    ("qm", "ESP[3DES,SHA256]", "encryption 3DES is too weak", "AES128-GCM"),
    ("qm", "ESP[AES256,SHA1]", "integrity SHA1 is too weak", "SHA256"),
    ("qm", "ESP[AES256,HMAC-MD5]", "too weak", "SHA256"),
    ("qm", "ESP[AES256]", "needs an integrity algorithm", "ESP[AES256,SHA256]"),
    ("qm", "ESP[AES256,None]", "needs an integrity algorithm", "ESP[AES256,SHA256]"),
    ("qm", "ESP[AES128-GCM,SHA256]", "authenticates by itself", "ESP[AES128-GCM]"),
    ("qm", "ESP[None,None]", "this protects nothing", "ESP[AES128-GCM]"),
    ("qm", "ESP[NULL]", "this protects nothing", "ESP[None,SHA256]"),
    ("mm", "NULL-SHA256-X25519", "IKE needs encryption", "AES128-GCM"),
    ("qm", "ESP[AES129,SHA256]", "'AES129' is no encryption known here", "AES128-GCM"),
    ("qm", "ESP[AES256,SHA257]", "'SHA257' is no integrity known here", "did you mean 'SHA25"),
    ("qm", "AH[None]", "this protects nothing", "AH[SHA256]"),
    ("qm", "AH[]", "this protects nothing", "AH[SHA256]"),
    ("qm", "AH[SHA1]", "integrity SHA1 is too weak", "SHA256"),
    ("qm", "AH[MD5]", "integrity MD5 is too weak", "SHA256"),
    ("qm", "AH[SHA257]", "'SHA257' is no integrity known here", "did you mean 'SHA25"),
    ("qm", "AH[AES128,SHA256]", "'AES128,SHA256' is no integrity known here", "known are"),
    ("qm", "AH[SHA256]:1h", "'1h' is no lifetime", "100000k/3600s"),
    ("qm", "AH[MD5]+ESP[DES,None]", "AH around ESP is not built", "AH[SHA256]"),
    ("qm", "ESP[AES128,SHA256]+AH[SHA256]:100000k/3600s", "AH around ESP is not built", "ESP[AES128-GCM]"),
    ("qm", "ESP[AES128-GCM] AH[SHA256]", "'AH[SHA256]': ESP and AH in one list", "a rule of their own"),
    ("qm", "ESP(AES128)", "this is no quick mode method", "write ESP[AES128-GCM]"),
    ("qm", "ESP[AES128-GCM]:1h", "'1h' is no lifetime", "100000k/3600s"),
    ("qm", "ESP[AES128-GCM]:", "'' is no lifetime", "100000k/3600s"),
    ("qm", "ESP[AES128-GCM]:100k/", "'100k/' is no lifetime", "100000k/3600s"),
    ("qm", "ESP[AES128-GCM]:/3600s", "'/3600s' is no lifetime", "100000k/3600s"),
    ("qm", "ESP[AES128-GCM]:100000k/5s", "5s is not possible", "10s to"),
    ("qm", "ESP[AES128-GCM]:1k/3600s", "1k is not possible", "20k to"),
    ("mm", "3DES-SHA256-X25519", "encryption 3DES is too weak", "AES128-GCM"),
    ("mm", "AES256-MD5-X25519", "hash MD5 is too weak", "SHA256"),
    ("mm", "AES256-SHA256-1", "group 1 is too weak", "group 3"),
    ("mm", "AES256-SHA256-DHGroup2", "group DHGroup2 is too weak", "X25519"),
    ("mm", "AES256-SHA256-5", "group 5 is too weak", "X25519"),
    ("mm", "AES256-SHA256-ECP256K", "'ECP256K' is no group known here", "did you mean 'ECP256'?"),
    ("mm", "AES256-SHA256-MLKEM768", "'MLKEM768' goes beside another group", "write X25519+MLKEM768"),
    ("mm", "AES256-SHA256-X25519+MLKEM512", "'MLKEM512' is no group known here", "MLKEM768"),
    ("mm", "AES256-SHA256-X25519+", "'' is no group known here", "known are"),
    ("mm", "AES256-SHA256-X25519+MLKEM768+curve25519", "a group stands twice", "name each once"),
    ("mm", "AES256-SHA256-X25519+DHGroup2", "group DHGroup2 is too weak", "X25519"),
    ("mm", "AES256-SHA256-14+15+16+17+18+19+20+21+28", "8 additional key exchanges", "name 7 at most"),
    ("mm", "AES256-SHA256", "this is no main mode method", "encryption-hash-group"),
    ("mm", "AES256--X25519", "this is no main mode method", "encryption-hash-group"),
]


@pytest.mark.parametrize(("mode", "method", "message", "remedy"), METHODS, ids=[row[1] for row in METHODS])
def test_methods(mode: str, method: str, message: str, remedy: str) -> None:
    place = "    action: negotiate" if mode == "qm" else "    assign: yes"
    (problem,) = problems_of(changed(place, f'{place}\n    {mode}secmethods: ["{method}"]'))
    assert (problem.at.line, problem.at.column) == (9 if mode == "qm" else 12, 20)
    assert message in problem.message
    assert remedy in problem.remedy
    assert problem.severity is Severity.ERROR


DEFAULT_RULE = "assign: yes\n    activatedefaultrule: yes\n    defaultrule: {}"
SECRET_LINE = "        psk: a shared secret of some length\n"
OBJECTS = [
    ("version: 1", "version: 2", (1, 10), "version 2 of the language is not known", "write 1"),
    ("version: 1", "verison: 1", (1, 1), "knows no key 'verison'", "did you mean 'version'?"),
    ("filteractions:", "filteraction:", (6, 1), "knows no key 'filteraction'", "did you mean 'filteractions'?"),
    ("name: smb", "nmae: smb", (3, 5), "knows no key 'nmae'", "did you mean 'name'?"),
    ("name: smb", "name: ''", (3, 11), "0 characters stand here", "1 to 255"),
    ("name: Servers", "name: Servers\n    name: x", (11, 5), "name stands twice here, first in line 10", "remove one"),
    ("filterlist: smb", "filterlist: sbm", (14, 21), "there is no filter list 'sbm'", "did you mean 'smb'?"),
    ("filterlist: smb", "filterlist: x", (14, 21), "there is no filter list 'x'", "known are: smb"),
    (
        "filteraction: require",
        "filteraction: requires",
        (15, 23),
        "there is no filter action",
        "did you mean 'require'?",
    ),
    (SECRET_LINE, "", (13, 9), "needs a psk", "psk: {file: /etc/xfrmd/psk}"),
    ("psk: a shared secret of some length", "psk: {}", (16, 14), "either a file or a credential", "psk: {file:"),
    ("psk: a shared secret of some length", "psk: {file: /a, credential: b}", (16, 14), "either a file", "psk: {file:"),
    ("psk: a shared secret of some length", "psk: {file: psk}", (16, 21), "needs an absolute path", "/etc/xfrmd/psk"),
    (
        "psk: a shared secret of some length",
        "psk: {credential: a/b}",
        (16, 27),
        "no name of a credential",
        "name alone",
    ),
    ("psk: a shared secret of some length", "psk: ''", (16, 14), "0 characters", "write 1 to"),
    ("psk: a shared secret of some length", "psk: [x]", (16, 14), "a list stands here", "the secret as text"),
    (SECRET_LINE, SECRET_LINE + "        conntype: wan\n", (17, 19), "'wan' is none of all, lan, dialup", "lan"),
    (SECRET_LINE, SECRET_LINE + "        local_id: a b\n", (17, 19), "'a b' is no identity", "host name"),
    (SECRET_LINE, SECRET_LINE + "        local_id: keyid:0xzz\n", (17, 19), "is no key ID", "0x and octets"),
    (SECRET_LINE, SECRET_LINE + "        local_id: 'keyid:'\n", (17, 19), "is no key ID", "a name"),
    (SECRET_LINE, SECRET_LINE + "        local_id: 10.1.0.300\n", (17, 19), "is no identity", "IP address"),
    (SECRET_LINE, SECRET_LINE + "        remote_id: '*.x'\n", (17, 20), "wildcards are not built yet", "one identity"),
    ("action: negotiate", "action: negotate", (8, 13), "none of permit, block, negotiate", "did you mean 'negotiate'?"),
    ("action: negotiate", "qmsecmethods: []", (8, 19), "list of quick mode methods is empty", "ESP[AES128-GCM]"),
    ("action: negotiate", "qmsecmethods: ''", (8, 19), "list of quick mode methods is empty", "ESP[AES128-GCM]"),
    ("assign: yes", "assign: yes\n    mmlifetime: 0", (12, 17), "0 is not between 1 and 2879", "minutes"),
    ("assign: yes", "assign: yes\n    mmlifetime: 1:30", (12, 17), "'1:30' is not a decimal number", "decimal digits"),
    ("assign: yes", "assign: yes\n    mmpfs: yes\n    qmpermm: 2", (13, 14), "one quick mode", "mmpfs: no"),
    (
        "assign: yes",
        "assign: yes\n    activatedefaultrule: yes",
        (12, 26),
        "cannot authenticate anybody",
        "add defaultrule",
    ),
    ("assign: yes", DEFAULT_RULE, (13, 18), "default response rule needs a psk", "add psk"),
    ("assign: yes", "assign: yes\n    softsaexpirationtime: 5", (12, 27), "not between 10 and 172799", "seconds"),
    ("assign: yes", "assign: yes\n    unresolved: drop", (12, 17), "none of keep, block", "keep, block"),
    ("assign: yes", "assign: yes\n    gponame: x", (12, 5), "gponame: assigning through a directory", "assign: yes"),
    ("version: 1", "version: 1\nconfig: {ipsecexempt: 4}", (2, 23), "4 is not between 0 and 3", "0 to 3"),
    ("version: 1", "version: 1\nconfig: {strongcrlcheck: 3}", (2, 26), "3 is not between 0 and 2", "0 to 2"),
    ("version: 1", "version: 1\nconfig: {bootmode: blok}", (2, 20), "none of stateful, block, permit", "'block'?"),
    ("assign: yes", "assign: yes\n    pollinginterval: 5", (12, 5), "pollinginterval:", "remove it"),
    (GOOD[GOOD.index("    rules:") :], "    rules: []\n", (12, 12), "the list of rules is empty", "add rules"),
    (GOOD[GOOD.index("    rules:") :], "    rules: x\n", (12, 12), "expected is a list of rules", "- "),
    (
        GOOD[GOOD.index("    filters:") : GOOD.index("filteractions")],
        "    filters: []\n",
        (4, 14),
        "filters is empty",
        "add",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "message", "remedy"), OBJECTS, ids=[row[1][-40:] for row in OBJECTS])
def test_objects(old: str, new: str, place: tuple[int, int], message: str, remedy: str) -> None:
    problems = problems_of(changed(old, new))
    fitting = [one for one in problems if message in one.message and (one.at.line, one.at.column) == place]
    assert fitting, problems
    assert remedy in fitting[0].remedy
    assert fitting[0].severity is Severity.ERROR
    # One mistake, one report; but a key that is misspelt is missing as well, and so is a list that lost its name.
    expected = {"nmae: smb": 3, "name: ''": 2}.get(new, 2 if "knows no key" in message else 1)
    assert len(problems) == expected, problems


def test_duplicate_names_of_every_kind() -> None:
    text = """\
version: 1
filterlists:
  - {name: a, filters: [{srcaddr: me, dstaddr: any}]}
  - {name: a, filters: [{srcaddr: me, dstaddr: any}]}
filteractions:
  - {name: b, action: block}
  - {name: b, action: permit}
policies:
  - name: c
    assign: yes
    rules: [{name: d, filterlist: a, filteraction: b}, {name: d, filterlist: a, filteraction: b}]
  - {name: c, assign: yes, rules: [{name: d, filterlist: a, filteraction: b}]}
"""
    found = [(one.at.line, one.at.column, one.message) for one in problems_of(text)]
    assert found == [
        (4, 12, "filter list 'a' stands twice, first in line 3"),
        (7, 12, "filter action 'b' stands twice, first in line 6"),
        (11, 63, "rule 'd' stands twice, first in line 11"),
        (12, 12, "policy 'c' stands twice, first in line 9"),
        (12, 23, "a second policy is assigned, the first in line 10"),
    ]


def test_a_connection_type_needs_me_in_each_filter() -> None:
    text = with_filter("{srcaddr: any, dstaddr: 10.0.0.1}")
    assert problems_of(text) == ()
    (problem,) = problems_of(text + "        conntype: dialup\n")
    assert (problem.at.line, problem.at.column) == (5, 9)
    assert "is for dialup only, but no side here is me" in problem.message


def test_a_bad_list_is_still_known_by_its_name() -> None:
    (problem,) = problems_of(with_filter("{srcaddr: me, dstaddr: any, dstport: 1}"))
    assert "needs a protocol" in problem.message


WARNINGS = [
    ("assign: yes", "assign: no", 10, "no policy is assigned, so nothing is filtered"),
    ("psk: a shared secret of some length", "psk: short", 16, "5 octets can be guessed"),
    ("psk: a shared secret of some length", "psk: '0x00112233445566778899aabbccddeeff'", 16, "is taken as text"),
    ("dstaddr: any", "dstaddr: 127.0.0.1", 5, "loopback traffic is never filtered"),
    ("dstaddr: any", "dstaddr: me", 5, "traffic of this host with itself"),
    ("version: 1", "version: 1\nconfig: {management: []}", 2, "locks everybody out is not refused"),
    ("action: negotiate", "qmsecmethods: ['ESP[AES128-GCM]', 'esp[aes128gcm]']", 8, "stands twice"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), WARNINGS, ids=[row[1] for row in WARNINGS])
def test_warnings(old: str, new: str, line: int, message: str) -> None:
    (problem,) = problems_of(changed(old, new))
    assert (problem.severity, problem.at.line) == (Severity.WARNING, line)
    assert message in problem.message
    assert problem.remedy


def test_no_management_port_may_be_meant() -> None:
    (problem,) = problems_of(changed("version: 1", "version: 1\nconfig: {management: []}"))
    assert "allow_lockout: yes, which says that this is meant" in problem.remedy
    assert problems_of(changed("version: 1", "version: 1\nconfig: {management: [], allow_lockout: yes}")) == ()
    assert problems_of(changed("version: 1", "version: 1\nconfig: {ipsecexempt: 3}")) == ()


def test_words_of_negotiate_beside_another_action_are_warned_about() -> None:
    text = changed("action: negotiate", "action: block\n    inpass: yes\n    qmpfs: no")
    assert [one.message for one in problems_of(text)] == [
        "inpass has no meaning with action: block",
        "psk has no meaning with action: block",
    ]
