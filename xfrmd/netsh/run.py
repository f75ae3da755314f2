# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole script, carried out in memory."""

from __future__ import annotations

from typing import Final

from xfrmd.netsh.commands import execute
from xfrmd.netsh.script import VERBS, Reader, Statement, abbreviated, decode
from xfrmd.netsh.session import LOCAL, Session
from xfrmd.policy.problems import Problems

# The example policies of Windows Server 2003: names as there, descriptions ours.
_OFFERS: Final = " ".join(f"ESP[{pair}]:100000k/900s" for pair in ("3DES,SHA1", "3DES,MD5", "DES,SHA1", "DES,MD5"))
EXAMPLES: Final = f"""\
pushd ipsec static
add filterlist "All IP Traffic" "All packets between this computer and others"
add filter "All IP Traffic" me any
add filterlist "All ICMP Traffic" "ICMP between this computer and others"
add filter "All ICMP Traffic" me any protocol=ICMP
add filteraction Permit "Let pass as it is" action=permit
add filteraction "Request Security (Optional)" action=negotiate inpass=yes soft=yes \
qmsecmethods="{_OFFERS} AH[SHA1]:100000k/300s AH[MD5]:100000k/300s"
add filteraction "Require Security" action=negotiate inpass=yes qmsecmethods="{_OFFERS}"
add policy "Client (Respond Only)"
add policy "Server (Request Security)"
add rule "All IP Traffic" "Server (Request Security)" "All IP Traffic" "Request Security (Optional)" kerberos=yes
add rule "All ICMP Traffic" "Server (Request Security)" "All ICMP Traffic" Permit
add policy "Secure Server (Require Security)"
add rule "All IP Traffic" "Secure Server (Require Security)" "All IP Traffic" "Require Security" kerberos=yes
add rule "All ICMP Traffic" "Secure Server (Require Security)" "All ICMP Traffic" Permit
"""


def run(source: str | bytes, problems: Problems) -> Session:
    """Carry out a script. What is wrong is in `problems`; nothing of a script with an error may be used."""
    session = Session(problems)
    text = decode(source, problems)
    if text is None:
        return session
    for statement in Reader(text, problems).statements():
        verb = abbreviated(statement.words[0].text, VERBS)
        if verb is not None:
            execute(session, statement, verb, _restore)
    session.close()
    return session


def _restore(session: Session, statement: Statement) -> None:
    """`restorepolicyexamples`: only the local store has them. Every object stands where the command does."""
    at = session.at(statement)
    if session.location != LOCAL:
        session.error(at, "the example policies belong to the local store", "write set store location=local before it")
        return
    if session.restored is not None:
        message = f"the example policies were restored in line {session.restored.line} already"
        session.error(at, message, "remove the line")
        return
    session.restored = at
    for example in Reader(EXAMPLES, Problems("examples")).statements():
        words = tuple(word._replace(line=at.line, column=at.column) for word in example.words)
        verb = abbreviated(words[0].text, VERBS) or ""
        execute(session, example._replace(words=words), verb, _restore)
