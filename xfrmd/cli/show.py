# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers of the daemon as text for people: terse, ages instead of dates, the remedy beside the failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from xfrmd.cli.output import VERDICT_STYLES, Output
from xfrmd.cli.show_stores import store_lines
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError

Answer = Mapping[str, Any]
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60))
PEERS_SHOWN: Final = 20
_EXTENSIONS: Final = {
    "moves": "MOBIKE (we may move)",
    "follows": "MOBIKE (the peer may move)",
    "fragments": "IKE fragments",
    "crash-token": "quick crash detection",
    "ticket": "a ticket for resumption",
    "ticket-given": "a ticket given for resumption",
    "resumed": "its beginning from a ticket",
    "redirected": "a gateway that we were sent to",
}
_DONE: Final = {
    "ExchangeTable": "nftables tables exchanged",
    "ChangeElements": "nftables elements changed",
    "WritePolicy": "SPD entries written",
    "RemovePolicy": "SPD entries removed",
}
"""Steps of the reconciler, for people."""
"""Failing peers that `status` lists; `--json` has all."""


def duration(seconds: float | None) -> str:
    """Seconds as "2h 5m", two units at most; "-" when there is no such time."""
    if seconds is None:
        return "-"
    rest, parts = int(max(seconds, 0)), []
    for unit, size in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    if rest or not parts:
        parts.append(f"{rest}s")
    return " ".join(parts[:2])


def filters(answer: Answer, output: Output) -> str:
    """`xfrmctl filters`."""
    listed: list[Answer] = answer["filters"]
    rows = [(f"{one['packets']:,}", octets(one["octets"]), one["action"]) for one in listed]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    lines = []
    for one, (packets, size, action) in zip(listed, rows, strict=True):
        told = output.paint(f"{action:<{widths[2]}}", VERDICT_STYLES.get(action, "strong"))
        store = "" if one["store"] == "local" else f"{one['store']} "
        lines += [
            f"{packets:>{widths[0]}} packets {size:>{widths[1]}}  {told}  {one['filter']}",
            f"    {store}rule {one['rule']!r}, filter list {one['filter_list']!r} at {one['at']}",
        ]
    count, unused = answer["count"], answer["unused"]
    head = f"{count:,} filter{'s' * (count != 1)} decided {answer['packets']:,} packets, {octets(answer['octets'])}"
    return "\n".join([*lines, f"{head}; {unused:,} of them none"])


def octets(count: int) -> str:
    """An amount of data, as "3.4 MiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _policy(policy: Answer, now: float, output: Output) -> list[str]:
    if not policy["assigned"]:
        return [f"policy:  {output.paint('none assigned', 'warning')}, nothing is filtered"]
    since = duration(now - policy["since"])
    return [
        f"policy:  {output.paint(policy['name'], 'strong')} from {policy['file']}, for {since}",
        (
            f"         {policy['filters']} specific filters, {policy['negotiate_filters']} of them negotiated, "
            f"{policy['spd_entries']} SPD entries"
        ),
        *(f"         {line}" for line in problems(policy["warnings"], output).splitlines()),
    ]


def _kernel(kernel: Answer, output: Output) -> list[str]:
    if kernel["state"] == "equal":
        return [f"kernel:  {output.paint('equal to the policy', 'good')}"]
    return [f"kernel:  {output.paint('degraded', 'error')}", *(f"         - {reason}" for reason in kernel["reasons"])]


def _boot(boot: Answer, output: Output) -> list[str]:
    """What the next start of the system loads, and what of this one's still stands."""
    files = boot["files"]
    if not files:
        what = [output.paint("not saved", "faint") + " (no state directory)"]
    else:
        what = [f"{files['boot.nft']['variant']} saved, checksum ok"] if files["boot.nft"]["variant"] else []
        what += [
            output.paint(f"{name} {one['checksum']}", "error") + ": the next start blocks all but exemptions"
            for name, one in files.items()
            if one["checksum"] != "ok" and boot["had_policy"]
        ]
        what = what or ["nothing saved: this host never had a policy"]
    exempt = ", ".join(boot["exemptions"]) or "none"
    stands = [output.paint("the filter of this start stands beside the policy", "warning")] if boot["loaded"] else []
    return [f"boot:    {'; '.join([*what, f'exemptions: {exempt}', *stands])}"]


def _revocation(sources: Iterable[Answer], now: float, output: Output) -> list[str]:
    """Lists and responders that certificates are held against."""
    lines = []
    for one in sources:
        holds = one["until"] is not None and one["until"] > now
        state = f"holds for {duration(one['until'] - now)}" if holds else "not there"
        shown = [output.paint(state, "good" if holds else "warning")] if one["kind"] == "list" else []
        shown += [output.paint(one["trouble"], "warning")] if one["trouble"] else []
        lines.append(f"  {one['url']}: {'; '.join(shown)}")
    return ["revocation:", *lines] if lines else []


def _failure(peer: Answer, now: float, output: Output) -> list[str]:
    times = f"{peer['failures']} times, last " if peer["failures"] > 1 else ""
    lines = [
        (
            f"  {output.paint(peer['peer'], 'strong')}  {times}{duration(now - peer['failed_at'])} ago: "
            f"{output.paint(peer['code'], 'error')}"
        ),
        *_both_sides(peer),
    ]
    if peer["remedy"]:
        lines.append(f"    remedy: {peer['remedy']}")
    return lines


def _both_sides(peer: Answer) -> list[str]:
    """The message; where it has both sides' wishes, those below one another to be compared."""
    fields = peer.get("fields", {})
    if not fields.get("ours") or not fields.get("theirs"):
        return [f"    {peer['message']}"]
    head = peer["message"].partition(": ours ")[0]
    lines = [f"    {head}", f"    ours:   {fields['ours']}", f"    theirs: {fields['theirs']}"]
    return [*lines, f"    first difference: {fields['difference']}"] if fields.get("difference") else lines


def _flat(counters: Answer) -> str:
    parts = [
        f"{group}: " + ", ".join(f"{name} {count}" for name, count in sorted(values.items()) if count)
        for group, values in sorted(counters.items())
        if any(values.values())
    ]
    return "\n".join(f"  {part}" for part in parts)


def status(answer: Answer, now: float, output: Output) -> str:
    """`xfrmctl status`. `now` is wall-clock time."""
    state = answer["state"]
    lines = [
        (
            f"xfrmd:   {output.paint(state, 'good' if state == 'running' else 'error')}, "
            f"for {duration(now - answer['since'])}"
        ),
        *_policy(answer["policy"], now, output),
        *_beside(answer["stores"], output),
        *_kernel(answer["kernel"], output),
        *_boot(answer["boot"], output),
        *_revocation(answer.get("revocation", ()), now, output),
        f"SAs:     {answer['ike_sas']} IKE, {answer['child_sas']} child",
    ]
    if any(answer["held"].values()):
        lines.append("held:    " + ", ".join(f"{name} {count}" for name, count in sorted(answer["held"].items())))
    failing = [peer for peer in answer["peers"] if peer["failures"]]
    if failing:
        lines.append(f"failing peers: {len(failing)}")
        lines += [line for peer in failing[:PEERS_SHOWN] for line in _failure(peer, now, output)]
        if len(failing) > PEERS_SHOWN:
            lines.append(f"  and {len(failing) - PEERS_SHOWN} more: see --json")
    return "\n".join(lines)


def _child(child: Answer, output: Output) -> list[str]:
    transforms = ", ".join(child["transforms"])
    protocol = child["protocol"] + (" in UDP" if child["udp"] else "")
    return [
        (
            f"  child {output.paint(child['spi_in'], 'strong')} in, {child['spi_out']} out: "
            f"{protocol} {child['mode'] or ''} {transforms}, {child['state']}, rule {child['rule']!r}"
        ),
        *(f"    {selector}" for selector in child["selectors"]),
        (
            f"    in {child['packets_in']} packets, {octets(child['octets_in'])}; "
            f"out {child['packets_out']} packets, {octets(child['octets_out'])}; "
            f"age {duration(child['age'])}, rekey in {duration(child['rekey_in'])}"
        ),
    ]


def _authenticated(ends: Answer) -> list[str]:
    """How each end has proved who it is."""
    return [f"  {who} by {_proven(ends[end])}" for end, who in (("remote", "peer"), ("local", "we")) if ends[end]]


def _proven(end: Answer) -> str:
    if end["method"] == "psk":
        return "preshared key"
    until = datetime.fromtimestamp(end["expires"], UTC)
    return (
        f"certificate {end['subject']!r} (serial {end['serial']}) of {end['authority']!r}, {end['scheme']}, "
        f"expires {until:%Y-%m-%d %H:%M} UTC"
    )


def _new_proof(sa: Answer) -> str:
    seconds = sa.get("reauthentication_in")
    return "" if seconds is None else f", authentication in {duration(seconds)}"


def _vendor(sa: Answer) -> str:
    return f" ({sa['vendor']})" if sa.get("vendor") else ""


def sas(answer: Answer, output: Output) -> str:
    """`xfrmctl sas`: each IKE SA with its children below it."""
    lines: list[str] = []
    children: dict[str, list[Answer]] = {}
    for child in answer["child_sas"]:
        children.setdefault(child["ike_spi"], []).append(child)
    for sa in answer["ike_sas"]:
        lines += [
            (
                f"{output.paint(sa['remote'], 'strong')} from {sa['local']}: IKE SA {sa['spi_local']}, "
                f"{'initiator' if sa['initiator'] else 'responder'}, {sa['state']}"
            ),
            (
                f"  {sa['remote_id'] or '?'}{_vendor(sa)} by rule {sa['rule']!r}; "
                f"{', '.join(sa['transforms']) or 'no methods agreed yet'}; "
                f"age {duration(sa['age'])}, rekey in {duration(sa['rekey_in'])}{_new_proof(sa)}"
            ),
        ]
        lines += _authenticated(sa["authenticated"])
        lines += [f"  with {', '.join(map(_EXTENSIONS.__getitem__, sa['extensions']))}"] if sa["extensions"] else []
        lines += [f"  keys with the postquantum preshared key {sa['ppk']!r}"] if sa["ppk"] else []
        for child in children.get(sa["spi_local"], ()):
            lines += _child(child, output)
    return "\n".join(lines) if lines else "no SAs"


def applied(answer: Answer, output: Output) -> str:
    """The outcome of `apply` and `reload`."""
    done = sorted((_DONE.get(name, name), count) for name, count in answer["changes"].items() if count)
    changes = ", ".join(f"{story}: {count}" for story, count in done)
    what = f"policy {answer['policy']!r}" if answer["policy"] else "no policy"
    lines = [f"{what} is in force: {answer['filters']} specific filters" + (f" ({changes})" if changes else "")]
    lines += problems(answer["warnings"], output).splitlines()
    return "\n".join([*lines, *_kernel(answer["kernel"], output), *_beside(answer["stores"], output)])


def _beside(stores: Sequence[Answer], output: Output) -> list[str]:
    """Of stores what is not plain: more than the local one, or trouble with it."""
    plain = all(one["store"] == "local" or not one["policy"] for one in stores)
    if plain and not any(one["trouble"] for one in stores):
        return []
    return ["stores:", *(f"  {line}" for line in store_lines(stores, output))]


def refusals_told(request: Callable[[], Answer], output: Output) -> Answer:
    """The answer to a request that brings a policy. The problems of one that is refused are told."""
    try:
        return request()
    except ControlError as error:
        found = error.details.get("problems")
        if found and not output.json:
            output.say(problems(found, output))
        raise


def exit_code(answer: Answer) -> ExitCode:
    """The exit code for what is in force now."""
    sound = answer["kernel"]["state"] == "equal" and not any(one["trouble"] for one in answer["stores"])
    return ExitCode.OK if sound else ExitCode.DEGRADED


def counters(answer: Answer) -> str:
    """`xfrmctl counters`: those that are not 0."""
    return _flat(answer["counters"]) or "  nothing counted yet"


def problems(found: Sequence[Answer], output: Output) -> str:
    """Problems of a policy that the daemon refused."""
    styles = {"error": "error", "warning": "warning"}
    return "\n".join(
        f"{output.paint('{file}:{line}:{column}'.format(**one), 'strong')}: "
        f"{output.paint(one['severity'] + ':', styles[one['severity']])} {one['message']}\n    remedy: {one['remedy']}"
        for one in found
    )
