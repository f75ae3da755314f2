# SPDX-License-Identifier: GPL-2.0-or-later
"""Transform Type 5, sequence numbers of ESP and AH (RFC 7296 3.3.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xfrmd.model.proposals import Transform, TransformType


class EsnRow(NamedTuple):
    """One way to number packets."""

    name: str
    v1_id: int | None
    """IKEv1 attribute "Extended Sequence Number" (RFC 4304 appendix): present or absent, absent is None."""
    id: int
    sequence_bits: int

    @property
    def transform(self) -> Transform:
        """The row as it is offered."""
        return Transform(TransformType.ESN, self.id)


# fmt: off
ROWS: Final = (
    #      name      v1 id v2 id bits
    EsnRow("NO-ESN", None, 0,    32),
    EsnRow("ESN",    1,    1,    64),
)
# fmt: on
