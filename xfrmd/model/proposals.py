# SPDX-License-Identifier: GPL-2.0-or-later
"""What peers offer each other (RFC 7296 3.3): transforms in proposals, with the lifetimes Windows ties to each."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple


class TransformType(enum.IntEnum):
    """IANA "Transform Type Values" (RFC 7296 3.3.2)."""

    ENCR = 1
    PRF = 2
    INTEG = 3
    KE = 4  # "D-H" in RFC 7296, "Key Exchange Method" since RFC 9370
    ESN = 5
    ADDKE1 = 6  # "Additional Key Exchange 1" to 7 (RFC 9370 2.1); their transforms are those of KE
    ADDKE2 = 7
    ADDKE3 = 8
    ADDKE4 = 9
    ADDKE5 = 10
    ADDKE6 = 11
    ADDKE7 = 12


ADDITIONAL: Final = tuple(kind for kind in TransformType if kind >= TransformType.ADDKE1)
"""Types of additional key exchanges, in the order in which they are made."""


class ProtocolId(enum.IntEnum):
    """IANA "Security Protocol Identifiers" (RFC 7296 3.3.1)."""

    NONE = 0
    IKE = 1
    AH = 2
    ESP = 3


class Transform(NamedTuple):
    """One algorithm: IANA transform type and id, and the key length in bits (0 where it has no such attribute)."""

    type: int
    id: int
    key_bits: int = 0


class Lifetime(NamedTuple):
    """When an SA must be replaced, whichever comes first. Zero: no such limit."""

    seconds: int
    kilobytes: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal of ours: transforms in order of preference, those of one type being alternatives."""

    protocol: ProtocolId
    transforms: tuple[Transform, ...]
    lifetime: Lifetime

    @property
    def additional(self) -> tuple[Transform, ...]:
        """Its additional key exchanges (RFC 9370)."""
        return tuple(transform for transform in self.transforms if transform.type in ADDITIONAL and transform.id)


def protocol_of(proposals: Sequence[Proposal]) -> ProtocolId:
    """The protocol that these proposals of one filter have in common: a filter's packets go by one protocol, as an SPD
    entry names one.
    """
    return proposals[0].protocol if proposals else ProtocolId.ESP
