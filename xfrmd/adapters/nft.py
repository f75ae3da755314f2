# SPDX-License-Identifier: GPL-2.0-or-later
"""nftables through libnftables. What is loaded is one transaction: all of it, or nothing and each error's place."""

from __future__ import annotations

import concurrent.futures
import errno
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from xfrmd import limits
from xfrmd.adapters import nft_listing
from xfrmd.adapters.nft_listing import Counted
from xfrmd.errors import KernelError
from xfrmd.model.nft import NftTable

_TABLE: Final = f"inet {limits.NFT_TABLE}"
_ABSENT: Final = "No such file or directory"
_FORBIDDEN: Final = "Operation not permitted"
_PROBE: Final = f"""
add table {_TABLE}_probe
add chain {_TABLE}_probe out {{ type route hook output priority 250; }}
add rule {_TABLE}_probe out ct state invalid rt ipsec missing queue num {limits.HOLD_QUEUE}
delete table {_TABLE}_probe
"""
T = TypeVar("T")


class NftLoader:
    """Our table in this network namespace. One thread owns the library's context, as two in it crash the process."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "nftables")
        self._context: Any = None

    def close(self) -> None:
        """Let the context go. The table stays."""
        self._thread.submit(setattr, self, "_context", None).result()
        self._thread.shutdown()

    def load(self, text: str) -> None:
        """Carry out nft commands in one transaction. KernelError with line and column of errors: nothing is done."""
        self._call(lambda: self._from_file(text, dry_run=False))

    def check(self, text: str) -> None:
        """Whether `load` would accept the text as far as can be told without committing it."""
        self._call(lambda: self._from_file(text, dry_run=True))

    def probe(self) -> None:
        """Try, and take back in the same transaction, what our rules need. KernelError that names the remedy."""
        try:
            self.load(_PROBE)
        except KernelError as error:
            needs = "nf_tables with inet, xfrm and queue expressions, conntrack and nfnetlink_queue"
            raise KernelError(f"{error}\nthe kernel needs {needs}", error.errno or errno.EOPNOTSUPP) from error

    def observe(self) -> NftTable | None:
        """Our table as the kernel has it, without counts; None when there is none."""
        listing = self._call(self._listing)
        return None if listing is None else nft_listing.parse(listing)

    def counters(self) -> dict[str, Counted]:
        """Our counters by name, none when there is no table."""
        listing = self._call(self._counters)
        return {} if listing is None else nft_listing.counters(listing)

    def delete(self) -> None:
        """Remove our table: what it held back flows again. That it is gone already is no error."""
        self.load(f"add table {_TABLE}\ndelete table {_TABLE}\n")

    def _call(self, function: Callable[[], T]) -> T:
        return self._thread.submit(function).result()

    def _nft(self) -> Any:
        """The context. It belongs to the network namespace that its thread was in when it was made."""
        if self._context is None:
            self._context = _new_context()
        return self._context

    def _from_file(self, text: str, *, dry_run: bool) -> None:
        """Through a file in memory: only for files does the library tell line and column, and all errors at once."""
        nft = self._nft()
        descriptor = os.memfd_create("nft")
        try:
            with os.fdopen(os.dup(descriptor), "w", encoding="ascii") as file:
                file.write(text)
            path = f"/proc/self/fd/{descriptor}"
            nft.set_dry_run(dry_run)
            status, _, said = nft.cmd_from_file(path)
        finally:
            nft.set_dry_run(False)
            os.close(descriptor)
        if status:
            raise _refusal(said.replace(path, _TABLE))

    def _listing(self) -> str | None:
        nft = self._nft()
        nft.set_stateless_output(True)
        return _list(nft, f"list table {_TABLE}")

    def _counters(self) -> str | None:
        nft = self._nft()
        nft.set_stateless_output(False)
        return _list(nft, f"list counters table {_TABLE}")


def _new_context() -> Any:
    try:
        import nftables  # noqa: PLC0415 - a Debian package; without it only this adapter fails
    except ImportError as error:
        raise KernelError("python3-nftables is missing; apt install python3-nftables") from error
    context = nftables.Nftables()
    context.set_numeric_proto_output(True)
    context.set_numeric_prio_output(True)
    return context


def _list(nft: Any, command: str) -> str | None:
    status, listing, said = nft.cmd(command)
    if status and _ABSENT in said:
        return None
    if status:
        raise _refusal(said)
    return str(listing)


def _refusal(said: str) -> KernelError:
    if _FORBIDDEN in said:
        return KernelError(f"nftables refused:\n{said.strip()}\nrun with CAP_NET_ADMIN", errno.EPERM)
    return KernelError(f"nftables refused:\n{said.strip()}")
