# SPDX-License-Identifier: GPL-2.0-or-later
"""Two responders, ours and charon, in the lab's kernel: CPU and memory that the same clients cost each of them.

Every handshake is IKE_SA_INIT and IKE_AUTH with a child SA pair that goes into the kernel. Clients come to a fresh
daemon of each kind by turns, after some that are not counted. CPU is that of the daemon's process with all its threads,
in user mode and in the kernel, as its CPU clock tells it. Neither asks for cookies: few clients are half-open. Ours
writes two lines into a file for each client, charon none.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.clients import Work
from bench.pair import PSK, Suite
from bench.report import Column, Row, Table, Value, alternated, over, tell
from lab import topology
from lab.netns import Host
from lab.strongswan import missing_packages, strongswan
from lab.xfrmd_host import xfrmd
from tests.lab import certificates
from tests.unit.pki import DAY, Holder

CLIENTS: Final = "172.16.0.0/12"
WARM_UP: Final = 20
WINDOW: Final = 8
_LIMIT: Final = 240.0
VALID: Final = 300 * DAY
"""How long certificates are."""
_SECRET: Final = PSK.secret.reveal().decode()
# fmt: off
CASES: Final[dict[str, tuple[Suite, str]]] = {
    "ECDSA P-256, ECP256": (Suite("AES128-GCM", "", "SHA256", "ECP256"), "p256"),
    "PSK, X25519": (Suite("AES128-GCM", "", "SHA256", "X25519"), ""),
    "PSK, MODP2048": (Suite("AES128", "SHA256", "SHA256", "MODP2048"), ""),
    "RSA 2048, MODP2048": (Suite("AES128", "SHA256", "SHA256", "MODP2048"), "rsa"),
    "PSK, X25519, {} rules": (Suite("AES128-GCM", "", "SHA256", "X25519"), ""),
}
"""Suite and kind of the certificates' keys, by what it is called; {}: the rules' number, of which the last one fits."""
_IN_CHARON: Final = {
    "AES128-GCM": "aes128gcm16", "AES128": "aes128", "SHA256": "sha256", "X25519": "curve25519",
    "MODP2048": "modp2048", "ECP256": "ecp256",
}
# fmt: on
_OURS: Final = """\
version: 1
filterlists:
{lists}
filteractions:
  - {{name: require, action: negotiate, qmsecmethods: ["ESP[{esp}]"], qmpfs: no}}
policies:
  - name: Bench
    assign: yes
    mmsecmethods: ["{ike}"]
    rules:
{rules}
"""
_CONNECTION: Final = """\
  c{number} {{
    version = 2
    proposals = {ike}
    remote_addrs = {remote}
    unique = never
    mobike = no
    send_cert = always
    childless = allow
    local {{ {own} }}
    remote {{ {peer} }}
    children {{ c{number} {{
      mode = transport
      esp_proposals = {esp}
    }} }}
  }}"""
SETTINGS: Final = """\
filelog { log { default = -1
ike = -1
cfg = -1 } }
dos_protection = no
ikesa_table_size = 1024
"""
"""No log, no cookies, and SAs found by hash."""


def _remotes(suite: Suite) -> list[str]:
    """Whom each rule is for: hosts that never come, and with the last one all clients."""
    return [*(f"10.{200 + n // 65536}.{n // 256 % 256}.{n % 256}/32" for n in range(suite.rules - 1)), CLIENTS]


@dataclass(frozen=True, slots=True)
class Pki:
    """An authority and what it says of the responder; `directory` has the authority's files."""

    directory: Path
    authority: Holder
    server: Holder

    @classmethod
    def make(cls, kind: str, directory: Path) -> Pki:
        """Everything new, valid for long: what ends within a month is told of at each handshake."""
        end = certificates.now() + VALID
        authority = certificates.root(kind, end=end)
        (directory / "ca.pem").write_bytes(authority.pem)
        (directory / "ca.key").write_bytes(authority.key_pem)
        return cls(directory, authority, certificates.host("server", authority, kind, end=end))

    def method(self) -> str:
        """Ours."""
        return certificates.Files(self.directory).rootca(self.authority, [self.server])


def ours_text(suite: Suite, method: str) -> str:
    """Our policy."""
    remotes = list(enumerate(_remotes(suite)))
    lists = (f"  - {{name: l{n}, filters: [{{srcaddr: me, dstaddr: {remote}}}]}}" for n, remote in remotes)
    rules = (f"      - {{name: r{n}, filterlist: l{n}, filteraction: require, {method}}}" for n, _ in remotes)
    esp = ",".join(word for word in (suite.encryption, suite.integrity) if word)
    ike = "-".join((suite.encryption.replace("-GCM", "GCM"), suite.integrity or suite.prf, suite.key_exchange))
    return _OURS.format(lists="\n".join(lists), rules="\n".join(rules), esp=esp, ike=ike)


def charon_text(suite: Suite, own: str, peer: str) -> str:
    """The same for charon."""
    esp = "-".join(_IN_CHARON[word] for word in (suite.encryption, suite.integrity) if word)
    prf = () if suite.integrity else ("prfsha256",)
    ike = "-".join((esp, *prf, _IN_CHARON[suite.key_exchange]))
    found = (
        _CONNECTION.format(number=number, ike=ike, esp=esp, remote=remote, own=own, peer=peer)
        for number, remote in enumerate(_remotes(suite))
    )
    return f'connections {{\n{chr(10).join(found)}\n}}\nsecrets {{ ike {{ secret = "{_SECRET}" }} }}\n'


@contextlib.contextmanager
def ours(host: Host, suite: Suite, pki: Pki | None, command: Sequence[str] = ()) -> Iterator[int]:
    """Our daemon, or another program in its place; the process. NotReady."""
    method = pki.method() if pki else 'psk: {file: "{psk}"}'
    with xfrmd(host, ours_text(suite, method), secret=_SECRET, command=command) as daemon:
        assert daemon.process is not None
        yield daemon.process.pid


@contextlib.contextmanager
def charon(host: Host, suite: Suite, pki: Pki | None) -> Iterator[int]:
    """The same of charon."""
    own, peer = "auth = psk", "auth = psk\n id = %any"
    if pki:
        own = "auth = pubkey\n certs = host.pem\n id = server.example"
        peer = "auth = pubkey\n id = %any\n cacerts = ca0.pem"
    files = certificates.charon_files([pki.authority], pki.server) if pki else {}
    plugins = certificates.CHARON_PLUGINS
    with strongswan(host, charon_text(suite, own, peer), settings=SETTINGS, plugins=plugins, files=files):
        yield host.processes[-1].pid


KINDS: Final = {"ours": ours, "charon": charon}


def cpu_of(pid: int) -> float:
    """CPU seconds of a process with all its threads (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> int:
    """Octets of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def connect(host: Host, work: Work) -> dict[str, float]:
    """Have clients connect, and what they tell of it. RuntimeError when one does not."""
    done = host.run(sys.executable, "-m", "bench.clients", work.to_json(), check=False, timeout=_LIMIT)
    if done.returncode:
        raise RuntimeError(f"clients: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if told["connected"] != work.count:
        raise RuntimeError(f"of {work.count} clients: {told}")
    return told


def responded(suite: Suite, keys: str, kind: str, count: int) -> Row:
    """One fresh daemon of a kind, and what `count` clients cost it."""
    with topology.two_hosts() as net, TemporaryDirectory() as name:
        # All of the clients' addresses are local there.
        net.left.run("ip", "route", "add", "local", CLIENTS, "dev", "lo")
        net.right.run("ip", "route", "add", CLIENTS, "via", net.left.v4)
        pki = Pki.make(keys, Path(name)) if keys else None
        authority = name if keys else ""
        with KINDS[kind](net.right, suite, pki) as pid:
            connect(net.left, Work(suite, CLIENTS, 1, WARM_UP, WINDOW, net.right.v4, authority))
            before = cpu_of(pid), resident(pid)
            work = Work(suite, CLIENTS, 1 + WARM_UP, count, WINDOW, net.right.v4, authority)
            connect(net.left, work)
            return {
                "ms": (cpu_of(pid) - before[0]) / count * 1e3,
                "kb": (resident(pid) - before[1]) / count / 1e3,
            }


def responders(count: int, rounds: int, rules: int, most: int) -> list[Row]:
    """A row for each of the first cases: the medians of both, and what ours costs in terms of charon's. Ours alone
    where there is no charon.
    """
    rows: list[Row] = []
    kinds = [kind for kind in KINDS if kind == "ours" or not missing_packages()]
    for name, (suite, keys) in islice(CASES.items(), most):
        case, one = name.format(rules), suite._replace(rules=rules if "{}" in name else 1)
        jobs = {f"{case}, {kind}": partial(responded, one, keys, kind, count) for kind in kinds}
        found = dict(zip(kinds, alternated(jobs, rounds, tell).values(), strict=True))
        row: dict[str, Value] = {"case": case, "clients": count, "rounds": rounds}
        row |= {f"{kind}_{key}": value for kind, values in found.items() for key, value in values.items()}
        if "charon" in found:
            row |= {f"{key}_ratio": over(found["ours"], found["charon"], key) for key in ("ms", "kb")}
        rows.append(row)
    return rows


def responders_table(rows: list[Row]) -> Table:
    """What `responders` has measured."""
    columns = (
        Column("case", "handshake"),
        Column("clients", "clients", ",d"),
        Column("ours_ms", "CPU ms", ".2f"),
        Column("charon_ms", "charon", ".2f"),
        Column("ms_ratio", "ratio", ".2f"),
        Column("ours_kb", "kB per client", ".1f"),
        Column("charon_kb", "charon", ".1f"),
        Column("kb_ratio", "ratio", ".2f"),
    )
    notes = (
        "In a kernel of the lab, where system calls cost many times what they do elsewhere and CPU is told in ticks: "
        "the daemon's CPU, user and system, and its growth for each client's IKE SA and child SA pair, which go into "
        "the kernel. The same clients come to both, 8 at a time; ours logs two lines for each, charon none."
    )
    return Table("responders", "Handshakes of a whole daemon", columns, tuple(rows), notes)
