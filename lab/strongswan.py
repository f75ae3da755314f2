# SPDX-License-Identifier: GPL-2.0-or-later
"""strongSwan as a peer: one charon-systemd in a host, configured by the text of a swanctl.conf."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from lab.netns import Host, run
from lab.ready import NotReady, Readiness
from lab.vici import Message, Vici

CHARON = "/usr/sbin/charon-systemd"
NEEDED = {
    CHARON: "charon-systemd",
    "swanctl": "strongswan-swanctl",
    "/usr/lib/ipsec/plugins/libstrongswan-openssl.so": "libstrongswan-standard-plugins",
    "/usr/lib/ipsec/plugins/libstrongswan-chapoly.so": "libstrongswan-extra-plugins",
}
PLUGINS = (
    "random nonce openssl pem pkcs1 x509 pubkey revocation constraints aes sha1 sha2 hmac kdf gcm curve25519 chapoly "
    "kernel-netlink socket-default vici updown"
)
_LEAVING = """\
table inet lab_leaving {
  chain output {
    type filter hook output priority 0;
    icmp type destination-unreachable drop
    icmpv6 type destination-unreachable drop
  }
}
"""
"""For a host whose charon ends: when an answer to charon's last words comes late, its kernel would say in the clear
that nobody listens to IKE any more, and a capture that is looked at afterwards would have that.
"""
SETTINGS = """\
charon-systemd {{
  load = {plugins}
  retransmit_timeout = 1.0
  plugins {{
    vici {{
      socket = unix://{directory}/vici
    }}
  }}
  filelog {{
    log {{
      path = {directory}/log
      default = 1
      ike = 2
      cfg = 2
      flush_line = yes
    }}
  }}
{settings}
}}
"""


@dataclass(frozen=True, slots=True)
class PeerChildSa:
    """A child SA as charon reports it. SPIs are numbers; `encryption` as in AES_GCM_16-128, `mode` as in TRANSPORT."""

    name: str
    unique_id: int
    state: str
    mode: str
    protocol: str
    encapsulated: bool
    spi_in: int
    spi_out: int
    encryption: str
    integrity: str
    packets_in: int
    packets_out: int
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerIkeSa:
    """An IKE SA as charon reports it."""

    name: str
    unique_id: int
    state: str
    version: int
    initiator: bool
    spi_initiator: int
    spi_responder: int
    local: str
    remote: str
    remote_id: str
    encryption: str
    integrity: str
    prf: str
    key_exchange: str
    children: tuple[PeerChildSa, ...]


def missing_packages() -> list[str]:
    """Debian packages that a peer needs and this system lacks."""
    return sorted({package for path, package in NEEDED.items() if not _present(path)})


def _present(path: str) -> bool:
    return Path(path).exists() if path.startswith("/") else shutil.which(path) is not None


class StrongSwan:
    """A running charon. Commands raise ViciError with charon's reason."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.vici = Vici(directory / "vici")

    @property
    def log(self) -> str:
        """All that charon logged so far."""
        return (self.directory / "log").read_text(errors="replace")

    def load(self, conf: str) -> None:
        """Replace the configuration by this swanctl.conf."""
        (self.directory / "swanctl.conf").write_text(conf)
        run(
            ["swanctl", "--load-all", "--clear", "--noprompt", "--uri", f"unix://{self.directory}/vici"],
            env={"SWANCTL_DIR": str(self.directory), "STRONGSWAN_CONF": str(self.directory / "strongswan.conf")},
        )

    def initiate(self, child: str, timeout: float = 20.0) -> None:
        """Bring a child SA up, its IKE SA first where there is none."""
        self.vici.command("initiate", {"child": child, "timeout": str(int(timeout * 1000))})

    def rekey(self, *, child: str | None = None, ike: str | None = None) -> None:
        """Start to rekey a child SA or an IKE SA; wait for its end by `wait_for`."""
        self.vici.command("rekey", _named(child, ike))

    def terminate(self, *, child: str | None = None, ike: str | None = None) -> None:
        """Delete a child SA or an IKE SA and tell the peer."""
        self.vici.command("terminate", _named(child, ike) | {"timeout": "10000"})

    def list_sas(self) -> tuple[PeerIkeSa, ...]:
        """All IKE SAs with their children."""
        events = self.vici.stream("list-sas", "list-sa")
        return tuple(_ike_sa(name, _inner(each, name)) for each in events for name in each)

    def children(self, name: str | None = None) -> tuple[PeerChildSa, ...]:
        """All installed child SAs, or those of one name."""
        found = (child for ike in self.list_sas() for child in ike.children)
        return tuple(each for each in found if each.state == "INSTALLED" and name in (None, each.name))

    def wait_for(self, wanted: Callable[[tuple[PeerIkeSa, ...]], bool], timeout: float = 20.0) -> tuple[PeerIkeSa, ...]:
        """The SAs, once `wanted` holds of them; looked at again after each event. TimeoutError with the log's end."""
        deadline = time.monotonic() + timeout
        events = Vici(self.directory / "vici")
        try:
            events.register("ike-updown", "child-updown", "ike-rekey", "child-rekey")
            while not wanted(sas := self.list_sas()):
                # charon tells of a rekey before it deletes the old SA, and not of that: look again after a while.
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"not so within {timeout} s: {sas}\n{self.log[-4000:]}")
                events.next_event(min(0.5, deadline - time.monotonic()))
            return sas
        finally:
            events.close()


@contextlib.contextmanager
def strongswan(
    host: Host,
    conf: str,
    *,
    settings: str = "",
    plugins: str = PLUGINS,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[StrongSwan]:
    """A charon in `host` with `conf` (swanctl.conf) loaded; `settings` are added to its section of strongswan.conf.

    `files` lie beside the configuration, where swanctl looks for them: x509/host.pem, x509ca/ca.pem, private/host.key.
    NotReady with its log when it does not start. It ends with the block; its IKE SAs are deleted at the peers.
    """
    with TemporaryDirectory(prefix="charon-") as name:
        directory = Path(name)
        text = SETTINGS.format(plugins=plugins, directory=directory, settings=settings)
        (directory / "strongswan.conf").write_text(text)
        for path, content in files.items():
            (directory / path).parent.mkdir(exist_ok=True)
            (directory / path).write_bytes(content)
        readiness = Readiness(directory / "notify")
        with (directory / "output").open("w") as output:
            process = host.popen(
                CHARON,
                stdout=output,
                env={"STRONGSWAN_CONF": str(directory / "strongswan.conf"), **readiness.environment},
            )
        try:
            readiness.wait(process)
            peer = StrongSwan(host, directory)
            peer.load(conf)
            yield peer
            peer.vici.close()
        except NotReady as error:
            raise NotReady(f"charon {error}\n{(directory / 'output').read_text()}") from error
        finally:
            readiness.close()
            host.run("nft", "-f", "-", stdin=_LEAVING, check=False)
            process.terminate()
            process.wait(20)


def _named(child: str | None, ike: str | None) -> dict[str, str]:
    return {name: value for name, value in (("child", child), ("ike", ike)) if value is not None}


def _inner(message: Message, name: str) -> Message:
    found = message.get(name, {})
    return found if isinstance(found, dict) else {}


def _text(message: Message, name: str) -> str:
    return str(message.get(name, ""))


def _list(message: Message, name: str) -> tuple[str, ...]:
    found = message.get(name, [])
    return tuple(found) if isinstance(found, list) else ()


def _algorithm(message: Message, name: str) -> str:
    size = _text(message, f"{name}-keysize")
    return _text(message, f"{name}-alg") + (f"-{size}" if size else "")


def _ike_sa(name: str, each: Message) -> PeerIkeSa:
    children = _inner(each, "child-sas")
    return PeerIkeSa(
        name=name,
        unique_id=int(_text(each, "uniqueid") or 0),
        state=_text(each, "state"),
        version=int(_text(each, "version") or 0),
        initiator=_text(each, "initiator") == "yes",
        spi_initiator=int(_text(each, "initiator-spi") or "0", 16),
        spi_responder=int(_text(each, "responder-spi") or "0", 16),
        local=_text(each, "local-host"),
        remote=_text(each, "remote-host"),
        remote_id=_text(each, "remote-id"),
        encryption=_algorithm(each, "encr"),
        integrity=_algorithm(each, "integ"),
        prf=_text(each, "prf-alg"),
        key_exchange=_text(each, "dh-group"),
        children=tuple(_child_sa(_inner(children, key)) for key in children),
    )


def _child_sa(each: Message) -> PeerChildSa:
    return PeerChildSa(
        name=_text(each, "name"),
        unique_id=int(_text(each, "uniqueid") or 0),
        state=_text(each, "state"),
        mode=_text(each, "mode"),
        protocol=_text(each, "protocol"),
        encapsulated=_text(each, "encap") == "yes",
        spi_in=int(_text(each, "spi-in") or "0", 16),
        spi_out=int(_text(each, "spi-out") or "0", 16),
        encryption=_algorithm(each, "encr"),
        integrity=_algorithm(each, "integ"),
        packets_in=int(_text(each, "packets-in") or 0),
        packets_out=int(_text(each, "packets-out") or 0),
        local_ts=_list(each, "local-ts"),
        remote_ts=_list(each, "remote-ts"),
    )
