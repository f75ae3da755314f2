# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command of netsh ipsec static, behind a script whose policy is whole: what it changes, and what is told."""

from __future__ import annotations

import pytest

from tests.unit.netsh_cases import (
    BASE,
    PSK,
    errors_of,
    filters_of,
    imported,
    policy_of,
    rule_of,
    warnings_of,
)
from xfrmd.model.addresses import Address, Prefix, range_to_prefixes
from xfrmd.model.pad import PskAuth
from xfrmd.model.selector import ANY_PORT, ICMP, TCP, UDP, Ports
from xfrmd.netsh.importing import import_script
from xfrmd.policy.boot import exemptions_text
from xfrmd.policy.words import Action, AddressSpec, AddressWord, BootMode, ConnectionType, Filter, PolicySet

OTHER = "another secret of some length"
ME, ANY = AddressWord.ME, AddressWord.ANY


def after(*lines: str) -> PolicySet:
    """The policies of the script with these commands behind it."""
    return imported(_script(*lines))


def _script(*lines: str) -> str:
    return BASE + "".join(f"{line}\n" for line in lines)


def _block(text: str) -> AddressSpec:
    return (Prefix.parse(text),)


@pytest.mark.parametrize(
    ("command", "src", "dst", "protocol", "dport", "mirrored"),
    [
        ("add filter smb any me", ANY, ME, 0, 0, True),
        (
            "add filter filterlist=SMB srcaddr=ME dstaddr=10.9.0.1 protocol=udp dstport=53",
            ME,
            "10.9.0.1",
            UDP,
            53,
            True,
        ),
        (
            'add filter smb me 10.9.0.0 "place by place" TCP yes 255.255.255.255 24 0 80',
            ME,
            "10.9.0.0/24",
            TCP,
            80,
            True,
        ),
        ("add filter filterlist=smb srcaddr=me dstaddr=10.1.2.3 dstmask=16", ME, "10.1.0.0/16", 0, 0, True),
        ("add filter filterlist=smb srcaddr=0.0.0.0 srcmask=0.0.0.0 dstaddr=0.0.0.0 dstmask=32", ANY, ME, 0, 0, True),
        ("add filter filterlist=smb srcaddr=me dstaddr=DNS protocol=UDP", ME, AddressWord.DNS_SERVERS, UDP, 0, True),
        ("add filter filterlist=smb srcaddr=wins dstaddr=me", AddressWord.WINS_SERVERS, ME, 0, 0, True),
        ("add filter filterlist=smb srcaddr=me dstaddr=Files.Example", ME, "files.example", 0, 0, True),
        ("add filter filterlist=smb srcaddr=me dstaddr=fd00:: dstmask=16", ME, "fd00::/16", 0, 0, True),
        ("add filter filterlist=smb srcaddr=me dstaddr=any protocol=ICMP", ME, ANY, ICMP, 0, True),
        ("add filter filterlist=smb srcaddr=me dstaddr=any protocol=raw", ME, ANY, 255, 0, True),
    ],
)
def test_add_filter(
    command: str, src: AddressSpec, dst: AddressSpec, protocol: int, dport: int, mirrored: bool
) -> None:
    _, one = filters_of(_script(command))
    wanted = dst if isinstance(dst, AddressWord) or dst == "files.example" else _block(str(dst))
    assert (one.src, one.dst, one.protocol, one.mirrored) == (src, wanted, protocol, mirrored)
    assert one.dports == (Ports(dport, dport) if dport else ANY_PORT,)


def test_add_filter_makes_its_list_and_takes_ranges_and_descriptions() -> None:
    commands = (
        'add filter filterlist=new srcaddr=me dstaddr=10.1.0.5-10.1.0.9 mirrored=no description="a, b: c"',
        "add rule name=new policy=Servers filterlist=new filteraction=permit",
    )
    rule = after(*commands).policies[0].rules[1]
    (one,) = rule.filter_list.filters
    ends = (Address.parse("10.1.0.5").value, Address.parse("10.1.0.9").value)
    wanted = Filter(ME, range_to_prefixes(4, *ends), one.at, mirrored=False, description="a, b: c")
    assert (rule.filter_list.name, one) == ("new", wanted)


def test_set_replaces_what_is_given_and_keeps_the_rest() -> None:
    commands = (
        'set filterlist smb newname=files description="of all"',
        "set filteraction require newname=ask qmpfs=yes soft=y inpass=y",
        f'set rule "protect smb" policy=Servers newname=r conntype=lan psk="{OTHER}"',
        "set policy Servers newname=Other mmlifetime=60 qmpermm=5",
    )
    policies = after(*commands)
    (policy,) = policies.policies
    (rule,) = policy.rules
    action, before = rule.filter_action, rule_of(BASE)
    assert (policy.name, policy.qmpermm, policy.mmsecmethods[0].lifetime.seconds) == ("Other", 5, 3600)
    assert policies.assigned is policy
    assert (rule.name, rule.conntype, rule.filter_list.name) == ("r", ConnectionType.LAN, "files")
    assert [one.secret.reveal() for one in rule.auth if isinstance(one, PskAuth)] == [OTHER.encode()]
    assert (action.name, action.qmpfs, action.soft, action.inpass) == ("ask", True, True, True)
    assert action.qmsecmethods == before.filter_action.qmsecmethods


def test_set_rule_moves_it_to_another_list_and_action() -> None:
    commands = (
        "add filter other any me",
        "set rule name=protect policy=Servers filterlist=other filteraction=permit activate=no",
        "delete filterlist smb",
    )
    script = _script(*commands).replace("protect smb", "protect")
    rule = rule_of(script)
    assert (rule.filter_list.name, rule.filter_action.action, rule.active) == ("other", Action.PERMIT, False)


def test_of_two_policies_the_one_assigned_last_is_assigned() -> None:
    more = ("add policy Other activatedefaultrule=no", "add rule r Other smb permit")
    assert _assigned(*more) == "Servers"
    assert _assigned(*more, "set policy Other assign=yes") == "Other"
    assert _assigned(*more, "set policy Other assign=yes", "set policy Servers assign=yes") == "Servers"
    assert _assigned(*more, "set policy Servers assign=no") is None


def _assigned(*lines: str) -> str | None:
    found = after(*lines).assigned
    return found.name if found else None


def test_delete_filter_takes_every_filter_that_matches_what_is_given() -> None:
    more = [f"add filter smb me 10.9.0.1 protocol=tcp dstport={port}" for port in (80, 81)]
    assert len(filters_of(_script(*more))) == 3
    assert len(filters_of(_script(*more, "delete filter smb me 10.9.0.1 protocol=tcp dstport=80"))) == 2
    assert len(filters_of(_script(*more, "delete filter smb me 10.9.0.1"))) == 1


@pytest.mark.parametrize("command", ['delete rule name="protect smb" policy=Servers', "delete rule all policy=Servers"])
def test_delete_rule_frees_what_it_used(command: str) -> None:
    more = ("add filter new me any", "add rule new Servers new permit")
    script = _script(command, "delete filterlist smb", "delete filteraction require", *more)
    assert (rule_of(script).name, warnings_of(script)) == ("new", [])


@pytest.mark.parametrize("command", ["delete policy Servers", "delete policy all", "delete all"])
def test_without_a_policy_what_comes_out_can_be_included(command: str) -> None:
    made = import_script(_script(command), "s.txt")
    assert "policies:" not in made.text
    assert ("filterlists:" in made.text) == (command != "delete all")
    assert "only be included" in made.problems[0].message


def test_what_stands_in_a_file_without_a_policy_is_checked_all_the_same() -> None:
    assert errors_of("ipsec static\nadd filter smb me any dstport=3\n") == [
        "2:1: dstport needs a protocol that has ports"
    ]


def test_the_default_response_rule() -> None:
    command = f'set defaultrule policy=Servers activate=yes psk="{OTHER}" qmpfs=y qmsecmethods="ESP[AES256,SHA256]"'
    response = policy_of(_script(command)).default_response
    assert response is not None
    assert [one.secret.reveal() for one in response.auth if isinstance(one, PskAuth)] == [OTHER.encode()]
    assert (response.qmpfs, len(response.qmsecmethods)) == (True, 1)
    script = _script("set defaultrule policy=Servers activate=yes")
    assert policy_of(script).default_response is None
    told = "the default response rule of policy 'Servers' is left out, as Kerberos is not built yet"
    assert warnings_of(script) == [f"8:1: {told}"]


def test_the_default_response_rule_is_active_where_nothing_is_said() -> None:
    assert warnings_of(BASE.replace("activatedefaultrule=no ", "")) == [
        "6:1: the default response rule of policy 'Servers' is left out, as Kerberos is not built yet"
    ]


def test_a_tunnel_is_two_rules() -> None:
    commands = (
        "add filter there srcaddr=10.1.0.0 srcmask=16 dstaddr=10.2.0.0 dstmask=16 mirrored=no",
        "add filter back srcaddr=10.2.0.0 srcmask=16 dstaddr=10.1.0.0 dstmask=16 mirrored=no",
        f'add rule out Servers there require tunnel=198.51.100.2 psk="{OTHER}"',
        f'add rule in Servers back require tunnel=192.0.2.1 psk="{OTHER}"',
        "set policy Servers assign=no",
    )
    _, out, back = after(*commands).policies[0].rules
    assert (out.tunnel, back.tunnel) == (Address.parse("198.51.100.2"), Address.parse("192.0.2.1"))
    mirrored = commands[0].replace("mirrored=no", "")
    message = "rule 'out' is a tunnel, but this filter is mirrored"
    assert errors_of(_script(mirrored, *commands[1:])) == [f"8:1: {message}"]


def test_tunnel_0_0_0_0_is_no_tunnel() -> None:
    assert rule_of(BASE.replace("psk=", "tunnel=0.0.0.0 psk=")).tunnel is None


def test_both_halves_of_a_tunnel_block_when_nobody_can_be_authenticated() -> None:
    commands = (
        "add filter there srcaddr=10.1.0.0 srcmask=16 dstaddr=10.2.0.0 dstmask=16 mirrored=no",
        "add filter back srcaddr=10.2.0.0 srcmask=16 dstaddr=10.1.0.0 dstmask=16 mirrored=no",
        "add rule out Servers there require tunnel=198.51.100.2 kerberos=yes",
        "add rule in Servers back require tunnel=192.0.2.1 kerberos=yes",
    )
    _, *halves = after(*commands).policies[0].rules
    assert [half.filter_action.action for half in halves] == [Action.BLOCK] * 2
    assert halves[0].description == "[blocks: stands for require with kerberos, tunnel 198.51.100.2]"


def test_the_computers_settings() -> None:
    assert after("ipsec dynamic set config property=ipsecexempt value=0").config.ipsecexempt == 0
    assert after("ipsec dynamic set config property=strongcrlcheck value=2").config.strongcrlcheck == 2
    script = _script("ipsec dynamic set config property=ikelogging value=1")
    assert warnings_of(script) == ["8:26: config property ikelogging is not built yet: it is left out"]


def test_boot_mode_and_exemptions() -> None:
    config = after(
        "ipsec dynamic set config property=bootmode value=block",
        'ipsec dynamic set config property=bootexemptions value="ICMP:inbound TCP:80:80:outbound"',
    ).config
    assert config.bootmode is BootMode.BLOCK
    assert exemptions_text(config.bootexemptions) == "icmp:inbound tcp:80:80:outbound"
    none = after("ipsec dynamic set config property=bootexemptions value=none").config
    assert (none.bootmode, none.bootexemptions) == (None, ())


def test_the_persistent_store_alone_is_imported_as_it_is() -> None:
    script = BASE.replace("pushd ipsec static", "pushd ipsec static\nset store location=persistent")
    assert policy_of(script).name == "Servers"
    assert warnings_of(script) == ["3:1: the persistent store is imported as the local one"]
    both = _script("set store location=persistent", "add filterlist other")
    assert errors_of(both) == [
        "9:1: both the local and the persistent store are filled, and a policy file is one store"
    ]


def test_the_example_policies_of_windows_block_as_they_need_kerberos() -> None:
    script = "ipsec static restorepolicyexamples release=win2003\nipsec static set policy Secure assign=yes\n"
    script = script.replace("Secure", '"Secure Server (Require Security)"')
    policies = imported(script)
    assert policies.assigned is not None
    verdicts = {rule.name: rule.filter_action.action for rule in policies.assigned.rules}
    assert verdicts == {"All IP Traffic": Action.BLOCK, "All ICMP Traffic": Action.PERMIT}
    assert errors_of(script + "ipsec static restorepolicyexamples release=win2003\n") == [
        "3:14: the example policies were restored in line 1 already"
    ]


@pytest.mark.parametrize(
    "command",
    ["set batch mode=enable", "add filter other me any", f'set rule "protect smb" policy=Servers psk="{OTHER}"'],
)
def test_these_are_not_worth_a_word(command: str) -> None:
    assert warnings_of(_script(command)) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("add filterlist smb", "1: filter list 'smb' was added in line 2 already: this line changes nothing"),
        ("add filteraction permit action=permit", "line 5 already: this line changes nothing"),
        ("add filter smb me 10.1.0.0 protocol=tcp dstmask=16 dstport=445", "1: this filter stands in line 3 already"),
        ("add filteraction new action=permit soft=yes", "36: soft has no meaning with action=permit"),
        (f'add rule r Servers smb permit psk="{OTHER}"', "1: authentication has no meaning in rule 'r'"),
        ("delete filterlist nothing", "1: there is no filter list 'nothing' at this point, so nothing is deleted"),
        ("delete rule nothing Servers", "1: there is no rule 'nothing' at this point, so nothing is deleted"),
        ("delete filter smb me 10.1.0.1", "1: no filter of the list matches all of this, so nothing is deleted"),
        ("add filter filterlist=smb any dstaddr=me", "27: a word without a tag is taken as srcaddr, by its place"),
        ("show all", "1: show prints, and changes nothing: it is left out"),
        ("add filterlist empty", "1: filter list 'empty' has no filter: it is left out"),
        ("set policy Servers pollinginterval=60", "no directory is polled for a newer policy"),
        ("set policy Servers mmpfs=yes qmpermm=7", "so qmpermm=7 is left out"),
    ],
)  # fmt: skip
def test_what_is_told_and_does_not_stop_the_import(command: str, message: str) -> None:
    (told,) = warnings_of(_script(command))
    assert message in told
    assert errors_of(_script(command)) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("add filter filterlist=smb srcaddr=me", "1: add filter needs dstaddr"),
        ("add filter smb me 10.1.0.0/16", "19: this word is no dstaddr"),
        ("add filter smb me dstaddr=10.1.0.0/16", "19: '10.1.0.0/16' has its mask in the address"),
        ("add filter smb me 10.1.0.0 dstmask=255.0.255.0", "28: '255.0.255.0' is no mask"),
        ("add filter smb me any dstmask=24", "23: a mask has no meaning beside dstaddr=any"),
        ("add filter smb any DNS", "1: beside a kind of server, the other end is this computer"),
        ("add filter smb me any dstport=3", "1: dstport needs a protocol that has ports"),
        ("add filter smb me any protocol=tcp dstport=70000", "36: 70000 is not between 0 and 65535"),
        ("add filter smb me any protocol=tpc", "23: 'tpc' is no protocol of netsh"),
        ("add filter smb me any protocl=tcp", "23: add filter has no tag 'protocl'"),
        ("add filter smb me any src=7", "23: 'src' may be srcaddr or srcmask or srcport"),
        ("add filter smb me any mirrored=maybe", "23: 'maybe' is not yes or no"),
        ("add filter smb me any mirrored=no", "1: rule 'protect smb' negotiates, but this filter"),
        ("add filter smb me dstaddr=files", "19: 'files' is no address"),
        ("add filter smb me dstaddr=10.1.0.9-10.1.0.5", "19: 10.1.0.9-10.1.0.5 is no range of addresses"),
        ("add filter smb me dstaddr=any mirrored=yes any", "44: a word without a tag stands behind one with a tag"),
        ("add filter smb me any description = protocol=tcp", "23: nothing stands behind 'description'"),
        ("add rule r Servers smb permit psk = x==", "31: nothing stands behind 'psk'"),
        ("add filter smb me any description=a description=b", "37: description stands twice in this command"),
        ("add filterlist smb other", "16: filter list 'smb' was added in line 2 already"),
        ("add filteraction new action=allow", "22: 'allow' is none of permit, block, negotiate"),
        ('add filteraction new qmsecmethods="ESP[None,None]"', "22: 'ESP[None,None]' protects nothing"),
        ('add filteraction new qmsecmethods="ESP[RC4,SHA1]"', "22: 'ESP[RC4,SHA1]': 'RC4' is no encryption known here"),
        ("add policy name=", "12: nothing stands behind name="),
        ("add policy Other mmlifetime=0", "18: 0 is not between 1 and 2879"),
        ("add policy Other mmsecmethods=3DES-SHA1-9", "18: '3DES-SHA1-9': '9' is no group known here"),
        ("add rule r Servers gone permit", "20: there is no filter list 'gone' at this point"),
        ("add rule r Servers smb premit", "24: there is no filter action 'premit' at this point"),
        ("add rule r Nobody smb permit", "12: there is no policy 'Nobody' at this point"),
        ('add rule "protect smb" Servers smb permit', "10: in policy 'Servers', rule 'protect smb' was added"),
        ("add rule r Servers smb permit tunnel=10.9.0.1", "1: a tunnel needs action=negotiate, not permit"),
        ("add rule r Servers smb require psk=", "32: nothing stands behind psk="),
        ("delete filterlist smb", "19: filter list 'smb' is used by 1 rules: Windows does not delete it"),
        ("delete filterlist all", "1: filter list 'smb' is used by rules: Windows does not delete it"),
        ("delete rule id=3 policy=Servers", "13: id is not known here"),
        ("set filteraction guid={1} newname=x", "18: guid is not known here"),
        ("set filterlist gone newname=x", "16: there is no filter list 'gone' at this point"),
        ("set policy Servers gponame=x", "20: gponame is not known here"),
        ("set store location=domain", "11: the domain store is a directory, which is not built yet"),
        ("exportpolicy file=x", "1: exportpolicy is not known here"),
        ("importpolicy file=x", "1: importpolicy is not known here"),
        ("exec other.txt", "1: 'exec' is no command known here in ipsec static"),
        ("add foo", "1: add 'foo' is no command of ipsec static"),
        ("ipsec dynamic add rule srcaddr=me", "15: ipsec dynamic add is not imported"),
        ("ipsec dynamic set config property=ipsecexempt value=9", "47: ipsecexempt has levels from 0 to 3"),
        ("ipsec dynamic set config property=bootmode value=3", "44: '3' is none of stateful, block, permit"),
        (
            "ipsec dynamic set config property=bootexemptions value=tcp:80:inbound",
            "50: 'tcp:80:inbound' does not name a source and a destination port",
        ),
        ("netsh interface ip show address", "7: 'interface' is no command known here in netsh"),
        ("netsh -r host ipsec static add filterlist x", "7: option '-r' of netsh is not followed here"),
        ("netsh -f other.txt", "7: option '-f' of netsh is not followed here"),
        ("netsh ipsec static add filterlist %1", "35: a variable stands here, and scripts are read, not run"),
        ("netsh ipsec static add filterlist a & del x", "37: & of cmd stands here, and scripts are read, not run"),
        ("popd\npopd", "1: there is no pushd before this popd"),
        ("popd\nif exist x goto y", "1: 'if' is no command known here in netsh"),
        ("exit\nadd filterlist x", "1: the script ends in line 8"),
        ('add filterlist "no end', "16: this quotation mark is never closed"),
        ('add filterlist "a"b', "19: text stands directly behind a closing quotation mark"),
        (r'add filterlist name="back\"', "27: a backslash stands before the closing quotation mark"),
        ("add filterlist a\x01b", "17: character U+0001 has no place in a script"),
        ("x" * 9000, "8192: a line of 9000 characters is no command"),
    ],
)  # fmt: skip
def test_mistakes(command: str, message: str) -> None:
    """Each is one error with its place; nothing else is told of it."""
    line = 8 + command.count("\n")
    (told,) = errors_of(_script(command))
    assert told.startswith(f"{line}:{message}")


def test_what_only_starts_services_is_left_out() -> None:
    script = "net start PolicyAgent\r\nchcp 1252\r\n" + BASE
    assert warnings_of(script) == ["1:1: net starts and stops services, which is left out"]


def test_signs_of_equality_may_stand_by_themselves() -> None:
    """As scripts of some tools have them."""
    commands = [
        "add filter filterlist = smb srcaddr = any srcmask = 0 dstaddr= me dstport =80 protocol = tcp",
        f'set rule name = "protect smb" policy = Servers psk = "{OTHER}" description = "a = b" activate = no',
    ]
    rule = rule_of(_script(*commands))
    one = rule.filter_list.filters[1]
    assert (one.src, one.dst, one.dports) == (ANY, ME, (Ports(80, 80),))
    assert (rule.description, rule.active) == ("a = b", False)
    assert [method.secret.reveal() for method in rule.auth if isinstance(method, PskAuth)] == [OTHER.encode()]
    assert warnings_of(_script(*commands)) == []


def test_a_line_may_go_on_in_the_next_one() -> None:
    """Behind a ^, as cmd has it; places are those of the script."""
    lines = [
        "netsh ipsec static add filter ^",
        '   filterlist=smb srcaddr=any description="a ^ b" ^',
        "dstaddr=me dstport=x",
    ]
    assert errors_of(_script(*lines)) == ["10:12: 'x' is no number"]
    (*_, one) = filters_of(_script(*lines[:2], "dstaddr=me"))
    assert (one.src, one.dst, one.description) == (ANY, ME, "a ^ b")
    (told,) = errors_of(_script("netsh ipsec static add filter smb me any ^ & format"))
    assert told.startswith("8:42: ^ of cmd stands here")


def test_an_echo_behind_a_command_changes_nothing() -> None:
    script = _script("netsh ipsec static add filter other any me && echo filter added")
    assert errors_of(script) == []
    (told,) = errors_of(script.replace("&& echo", "&& format"))
    assert told.startswith("8:44: & of cmd stands here")


@pytest.mark.parametrize(
    "bad", [f'add rule r Servers smb require psk="{PSK}" x', f"add rule {PSK}", f"add rule x={PSK}"]
)
def test_no_message_shows_what_may_be_a_secret(bad: str) -> None:
    told = errors_of(_script(bad))
    assert told
    assert not [one for one in told if "secret of some" in one]


def test_a_script_of_nothing_but_errors_is_not_read_to_its_end() -> None:
    for mistake in ("add x", "ipsec static add x", "ipsec static add rule r p l a"):
        told = errors_of(f"{mistake}\n" * 5000)
        assert 500 <= len(told) <= 510
        assert "errors: the script is not read on" in told[-1]
