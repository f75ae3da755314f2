# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows' words for what passes while the computer starts: boot modes, and boot exemptions in netsh's grammar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from xfrmd import limits
from xfrmd.model.selector import ICMP, PROTOCOL_NUMBERS, TCP, UDP
from xfrmd.policy.kinds import Kind, Schema, number, scalar, word
from xfrmd.policy.nodes import Node, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.words import BootExemption, BootMode

BOOT_MODE: Final = word({mode.value: mode for mode in BootMode})
_FORMS: Final = "tcp:0:22:inbound (source and destination port, 0 for any), icmp:inbound or 47:outbound"
_WORDS: Final = f"none, or exemptions such as {_FORMS}"
_DIRECTIONS: Final = {"inbound": True, "outbound": False}
_WITH_PORTS: Final = {"tcp": TCP, "udp": UDP}
_RAW: Final = 255
"""Windows' name for this protocol number."""
_ALONE: Final = {"icmp": ICMP, "raw": _RAW}
_NAMES: Final = {number: name for name, number in (_WITH_PORTS | _ALONE).items()}
_PROTOCOL: Final = "[A-Za-z]+|[0-9]{1,3}"
_ONE: Final = rf"({_PROTOCOL})(:[0-9]{{1,5}}:[0-9]{{1,5}})?:[A-Za-z]+"
_SCHEMA: Final[Schema] = {"type": "string", "pattern": rf"^([Nn][Oo][Nn][Ee]|{_ONE}(\s+{_ONE})*)$"}


def exemption_text(one: BootExemption) -> str:
    """An exemption as netsh writes it."""
    ports = f":{one.sport}:{one.dport}" if one.protocol in (TCP, UDP) else ""
    return f"{_NAMES.get(one.protocol, one.protocol)}{ports}:{'inbound' if one.inbound else 'outbound'}"


def exemptions_text(exemptions: Iterable[BootExemption]) -> str:
    """All of them, as one value of netsh."""
    return " ".join(map(exemption_text, exemptions)) or "none"


def _port(text: str, what: str, node: Node, problems: Problems) -> Any:
    wanted = f"a {what} from 1 to 65535, or 0 for any"
    value = number(text, node, problems, wanted)
    if value is not BAD and value > 65535:
        return problems.error(node, f"{value} is no port", f"write {wanted}")
    return value


def _protocol(text: str, node: Node, problems: Problems) -> Any:
    known = _WITH_PORTS | _ALONE
    if text.casefold() in known:
        return known[text.casefold()]
    if not text.isascii() or not text.isdigit():
        elsewhere = PROTOCOL_NUMBERS.get(text.casefold())
        remedy = f"write its number, {elsewhere}" if elsewhere else did_you_mean(text, known, f"write {_FORMS}")
        return problems.error(node, f"boot exemptions know no protocol {quoted(text)}", remedy)
    value = number(text, node, problems, "a protocol number from 1 to 255")
    if value is not BAD and not 1 <= value <= 255:
        return problems.error(node, f"{value} is no protocol number", "write one from 1 to 255")
    return value


def _exemption(text: str, node: Node, problems: Problems) -> Any:
    """One exemption, or BAD (reported)."""
    first, *ports, last = text.split(":") if ":" in text else (text, "")
    protocol = _protocol(first, node, problems)
    inbound = _DIRECTIONS.get(last.casefold())
    if inbound is None:
        message = f"{quoted(text)} ends in neither inbound nor outbound"
        return problems.error(node, message, did_you_mean(last, _DIRECTIONS, f"write {_FORMS}"))
    if protocol is BAD:
        return BAD
    if first.casefold() in _WITH_PORTS:
        if len(ports) != 2:
            message = f"{quoted(text)} does not name a source and a destination port"
            return problems.error(node, message, f"write {first}:SOURCE:DESTINATION:{last}, 0 for any port")
        kinds = ("source port", "destination port")
        numbers = [_port(port, kind, node, problems) for port, kind in zip(ports, kinds, strict=True)]
        return BAD if BAD in numbers else BootExemption(protocol, inbound, *numbers)
    if ports:
        message = f"{quoted(text)} names ports, which only tcp and udp have here"
        return problems.error(node, message, f"write {first}:{last}")
    return BootExemption(protocol, inbound)


def _parts(node: Node, problems: Problems) -> Iterator[tuple[str, Node]]:
    """The exemptions as they are written, each with its place."""
    for one in node.items if isinstance(node, SequenceNode) else (node,):
        text = scalar(one, problems, "an exemption" if one is not node else _WORDS)
        if text is not None:
            words = text.split()
            if not words:
                problems.error(one, "there is no exemption here", f"write {_WORDS}")
            yield from ((word, one) for word in words)


def _read(node: Node, problems: Problems) -> Any:
    parts = list(_parts(node, problems))
    if len(parts) > limits.BOOT_EXEMPTIONS:
        message = f"{len(parts)} boot exemptions are too many"
        return problems.error(node, message, f"write {limits.BOOT_EXEMPTIONS} of them at most")
    found: dict[BootExemption, None] = {}
    for text, place in parts:
        if text.casefold() == "none":
            if len(parts) > 1:
                problems.error(place, "none stands beside other exemptions", "remove it, or the others")
            continue
        one = _exemption(text, place, problems)
        if one in found:
            problems.error(place, f"{quoted(text)} stands twice here", "remove one of the two")
        elif one is not BAD:
            found[one] = None
    return tuple(found)


BOOT_EXEMPTIONS: Final = Kind(_WORDS, {"anyOf": [_SCHEMA, {"type": "array", "items": _SCHEMA}]}, _read)
