# SPDX-License-Identifier: GPL-2.0-or-later
"""The facts of a host as text for people: what stands behind each word of a policy, and where it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from xfrmd.cli.output import Output
from xfrmd.cli.show import Answer, duration

_KERNEL: Final = "kernel"


def facts_text(answer: Answer, now: float, output: Output) -> str:
    """One line a fact: the word in a policy, its addresses, its source."""
    return "\n".join(_lines(answer["facts"], answer["sources"], now, output))


def _lines(facts: Answer, sources: Answer, now: float, output: Output) -> Iterator[str]:
    for one in facts["interfaces"]:
        yield _line("me", one["addresses"], f"{_KERNEL}, {one['name']} ({one['kind']})", output)
    yield _line("default-gateway", facts["default_gateways"], _KERNEL, output)
    yield _line("dns-servers", facts["dns_servers"], sources["dns_servers"], output)
    for word, key in (("dhcp-server", "dhcp_servers"), ("wins-servers", "wins_servers")):
        from_leases = [lease for lease in sources["leases"] if lease[key]]
        for lease in from_leases:
            yield _line(word, lease[key], _lease(lease, now), output)
        if not from_leases:
            yield _line(word, (), "no lease names one", output)
    for name in sorted({*facts["names"], *sources["names"]}):
        yield from _name(name, facts["names"].get(name, ()), sources["names"].get(name, {}), output)
    for end, gateway in sorted(facts["redirects"].items()):
        yield _line(f"tunnel {end}", [gateway], "IKE: that gateway sends us there", output)


def _line(word: str, addresses: Iterable[str], source: str | None, output: Output) -> str:
    shown = ", ".join(addresses) or output.paint("none", "faint")
    where = f"  {output.paint(f'[{source}]', 'faint')}" if source else ""
    return f"{output.paint(f'{word:16}', 'strong')} {shown}{where}"


def _lease(lease: Answer, now: float) -> str:
    rest = f", for {duration(lease['expires'] - now)}" if lease["expires"] else ""
    return f"{lease['file']}, {lease['interface']}{rest}"


def _name(name: str, addresses: Iterable[str], origin: Answer, output: Output) -> Iterator[str]:
    source = origin.get("source")
    if source and origin["asked_in"] is not None:
        source = f"{source}, asked again in {duration(origin['asked_in'])}"
    yield _line(name, addresses, source, output)
    if origin.get("trouble"):
        again = "" if source else f"; asked again in {duration(origin['asked_in'])}"
        yield f"    {output.paint(origin['trouble'], 'error')}{again}"
