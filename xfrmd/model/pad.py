# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries of the Peer Authorization Database (RFC 4301 4.4.3): who may be on the other side and how it proves it.

They are Windows' main mode filters: address pairs with main mode settings and ordered authentication methods.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from xfrmd import limits
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.proposals import Proposal
from xfrmd.model.secret import Secret
from xfrmd.model.source import Span
from xfrmd.model.store import Store


class IdType(enum.IntEnum):
    """Identification Data types (RFC 7296 3.5)."""

    IPV4_ADDR = 1
    FQDN = 2
    RFC822_ADDR = 3
    IPV6_ADDR = 5
    DER_ASN1_DN = 9
    DER_ASN1_GN = 10
    KEY_ID = 11


@dataclass(frozen=True, slots=True)
class Identity:
    """An IKE identity: type (IANA number, see IdType) and value as it stands in the ID payload."""

    type: int
    value: bytes

    def __str__(self) -> str:
        if self.type in (IdType.IPV4_ADDR, IdType.IPV6_ADDR) and len(self.value) in (4, 16):
            return str(Address.from_bytes(self.value))
        if self.type in (IdType.FQDN, IdType.RFC822_ADDR):
            # It may come from a stranger and ends up in the journal and on terminals: no control characters.
            if self.value.isascii() and (text := self.value.decode("ascii")).isprintable():
                return text
            return "".join(chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in self.value)
        if self.type == IdType.KEY_ID:
            plain = all(0x20 < octet < 0x7F for octet in self.value) and self.value[:2] != b"0x"
            return f"keyid:{self.value.decode('ascii') if plain else '0x' + self.value.hex()}"
        return f"{self.type}:{self.value.hex()}"


CRL_OFF, CRL_IF_KNOWN, CRL_ALWAYS = 0, 1, 2
"""Certificates are taken without a look at revocation lists; unless a list names them; only if a list that holds now
does not name them.
"""


@dataclass(frozen=True, slots=True)
class PskAuth:
    """Authentication by a shared secret (RFC 7296 2.15)."""

    secret: Secret

    @property
    def proves_peer(self) -> bytes:
        """What a peer proves itself against."""
        return self.secret.reveal()


@dataclass(frozen=True, slots=True)
class Fetching:
    """Where it may be asked, by HTTP, what has been revoked. What our own certificates name is allowed besides."""

    lists: tuple[str, ...] = ()
    """Addresses of revocation lists."""
    responders: tuple[str, ...] = ()
    """Addresses of OCSP responders, for certificates of this authority and of those below it."""
    hosts: tuple[tuple[str, int], ...] = ()
    """Hosts and ports that a peer's certificate may name."""


@dataclass(frozen=True, slots=True)
class RootcaAuth:
    """Authentication by certificates under one authority (Windows `rootca`; RFC 7296 2.15, RFC 4945)."""

    authority: bytes
    """The authority's certificate in DER, which is trusted."""
    certificates: tuple[bytes, ...]
    """Our own certificate in DER, then those between it and the authority."""
    key: Secret
    """The private key of our certificate: PKCS#8 in DER. Empty where the policy is only looked at."""
    name: str
    """The authority's subject, for people."""
    exclude_ca_name: bool = False
    """Do not name the authority when we ask a peer for its certificate."""
    crls: tuple[bytes, ...] = ()
    """Revocation lists in DER."""
    crl_check: int = CRL_IF_KNOWN
    """Windows' `strongcrlcheck`: CRL_OFF, CRL_IF_KNOWN or CRL_ALWAYS."""
    fetch: Fetching | None = None
    """Whether lists and answers of OCSP responders are fetched; None: nobody is asked."""

    @property
    def proves_peer(self) -> bytes:
        """What a peer proves itself against: our own certificate may be renewed under an SA."""
        return b"rootca" + self.authority


AuthMethod = PskAuth | RootcaAuth


@dataclass(frozen=True, slots=True)
class Ppk:
    """A postquantum preshared key (RFC 8784): beside what authenticates, it goes into the keys."""

    id: bytes
    """By which the ends name it to one another."""
    secret: Secret
    required: bool = True
    """Peers that do not have it are refused; else they are talked to without."""


@dataclass(frozen=True, slots=True)
class MainMode:
    """Main mode settings of a policy: what protects the IKE SA."""

    proposals: tuple[Proposal, ...]
    """In order of preference; a proposal's lifetime is that of the IKE SA in seconds."""
    quick_modes: int = 0
    """Windows `qmpermm`: child SAs negotiated under one IKE SA before it takes no more; 0 = no limit."""
    encapsulate: bool = False
    """ESP travels in UDP whatever stands between the two ends (`forceencapsulation`)."""
    resumption: bool = False
    """IKE SAs that were lost may go on from tickets (RFC 5723), where both ends want it."""
    auth_seconds: int = 0
    """After so long both ends authenticate anew (`mmauthlifetime`); 0 = as long as their certificates hold."""
    fragment_size: int = limits.FRAGMENT_SIZE
    """Octets of an IKE message above which it goes in fragments (RFC 7383)."""


@dataclass(frozen=True, slots=True)
class PadEntry:
    """Peers whose IKE traffic runs between these addresses: how to authenticate them and with which settings.

    `local_id` and `remote_id` None stand for the IP address of that side.
    """

    local: Prefix
    remote: Prefix
    rule: str
    auth: tuple[AuthMethod, ...]
    main_mode: MainMode
    at: Span
    local_id: Identity | None = None
    remote_id: Identity | None = None
    store: Store = Store.LOCAL
    ppk: Ppk | None = None
    redirects: tuple[Address, ...] = ()
    """Gateways to which the one of a tunnel may send us (RFC 5685)."""
    redirect_to: Address | None = None
    """The gateway to which we send those who come by a tunnel."""

    @property
    def peers(self) -> tuple[object, ...]:
        """Who is believed to be a peer, and as whom: under another value of it no SA may go on."""
        return (tuple(method.proves_peer for method in self.auth), self.local_id, self.remote_id, self.ppk)
