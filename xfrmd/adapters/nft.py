# SPDX-License-Identifier: GPL-2.0-or-later
"""Our nftables table: its frame (maps, chains, counters) through libnftables, the elements of its maps through netlink.

What is loaded is one transaction: all of it, or nothing and each error's place.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from xfrmd import limits
from xfrmd.adapters import nft_elements, nft_listing
from xfrmd.adapters.netlink_dump import steady
from xfrmd.adapters.nft_socket import ChangedElsewhereError, NftSocket
from xfrmd.compiler import nft_text
from xfrmd.errors import KernelError
from xfrmd.model.nft import Counted, ElementChange, ElementKey, NftMap, NftTable, TableChange

_TABLE: Final = f"inet {limits.NFT_TABLE}"
_FORBIDDEN: Final = "Operation not permitted"
_MISSING: Final = "No such file or directory"
_PROBE: Final = f"""
add table {_TABLE}_probe
add chain {_TABLE}_probe out {{ type route hook output priority 250; }}
add rule {_TABLE}_probe out ct state invalid rt ipsec missing queue num {limits.HOLD_QUEUE}
delete table {_TABLE}_probe
"""
_TRIES: Final = 8
"""Times that the table is read when others change it meanwhile."""
T = TypeVar("T")


class NftLoader:
    """Our table in this network namespace. One thread owns the library's context, as two in it crash the process."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "nftables")
        self._context: Any = None
        self._commits = 0
        self._socket = NftSocket()
        self._counts = NftSocket()
        """For whoever wants counters while the thread is busy."""
        self._element_counts = NftSocket()
        """For those of elements: reading them takes a second, and is another thread's."""

    def close(self) -> None:
        """Let the context go. The table stays."""
        self._thread.submit(setattr, self, "_context", None).result()
        self._thread.shutdown()
        self._socket.close()
        self._counts.close()
        self._element_counts.close()

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
        """Our table as the kernel has it, without counts; None when there is none. All of it is of one moment."""
        return self._call(self._observed)

    def exists(self, name: str = limits.NFT_TABLE) -> bool:
        """Has the kernel this table of ours, of whatever content? KernelError."""
        return self._call(lambda: _exists(self._nft(), name))

    @property
    def commits(self) -> int:
        """Transactions of ours so far."""
        return self._commits + self._socket.commits

    def generation(self) -> int:
        """A number that each transaction of anybody in this network namespace changes."""
        return self._call(self._socket.generation)

    def prepare(self, change: TableChange) -> None:
        """Make and fill the maps that are new, which no packet meets yet, and see whether `exchange` would be accepted.

        KernelError when something is refused: then all of it is taken back.
        """
        self._call(lambda: self._prepared(change))

    def exchange(self, change: TableChange) -> None:
        """Put the new table in the place of the old one, in one transaction. KernelError: nothing is done.

        Elements of a full map that is made anew go on counting where they stood a moment before.
        """
        self._call(lambda: self._from_file(nft_text.exchanged(change, self._carried(change)), dry_run=False))

    def change(self, changes: Mapping[str, ElementChange], generation: int) -> None:
        """Change elements in one transaction, if nobody has changed anything since that generation.

        ChangedElsewhereError when somebody has; KernelError when the kernel refuses. Nothing is done then.
        """
        self._call(lambda: self._socket.change(changes, generation))

    def element(self, name: str, key: ElementKey) -> str | None:
        """What a map does with a key, None when it does not have it."""
        return self._call(lambda: self._socket.element(name, key))

    def counters(self) -> dict[str, Counted]:
        """Our counters by name, none when there is no table. KernelError, also when others change nftables always."""
        return steady(self._counts.counters)

    def element_counters(self, table: NftTable) -> dict[str, dict[ElementKey, Counted]]:
        """What each element of the table's counted maps has seen, by map. Not for two threads at once, but beside
        everything else: it takes a second for 100,000 filters. KernelError, also when others change nftables all the
        time.
        """
        return {one.name: self._counted(one, self._element_counts) for one in table.maps if one.counted}

    def delete(self) -> None:
        """Remove our table: what it held back flows again. That it is gone already is no error."""
        self.load(f"add table {_TABLE}\ndelete table {_TABLE}\n")

    def lift_boot_filter(self) -> bool:
        """Remove what stands from the start of the system, in one transaction. False: there was nothing."""
        try:
            self.load(f"delete table inet {limits.BOOT_TABLE}\n")
        except KernelError as error:
            if _MISSING in str(error):
                return False
            raise
        return True

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
        self._commits += not dry_run

    def _prepared(self, change: TableChange) -> None:
        text = nft_text.prepared(change)
        if text:
            self._from_file(text, dry_run=False)
        try:
            for one in nft_text.fresh_maps(change):
                self._socket.fill(one.name, one.elements)
            self._from_file(nft_text.exchanged(change), dry_run=True)
        except KernelError:
            if text:
                with contextlib.suppress(KernelError):
                    self._from_file(nft_text.unprepared(change), dry_run=False)
            raise

    def _observed(self) -> NftTable | None:
        for _ in range(_TRIES):
            generation = self._socket.generation()
            listing = self._frame()
            if listing is None:
                return None
            table = nft_listing.parse(listing)
            try:
                table = replace(table, maps=tuple(replace(one, elements=self._elements(one)) for one in table.maps))
            except ChangedElsewhereError:
                continue
            if self._socket.generation() == generation:
                return table
        raise KernelError(f"nftables: other programs change it all the time; {_TRIES} tries to read it failed")

    def _elements(self, one: NftMap) -> dict[ElementKey, str]:
        """Of a map whose keys are none of ours, nothing: it is another one anyhow."""
        found: dict[ElementKey, str] = {}
        if one.fields:
            for columns in self._socket.elements(one):
                found.update(nft_elements.verdicts(columns))
        return found

    def _carried(self, change: TableChange) -> dict[str, dict[ElementKey, Counted]]:
        """What elements that stay in a full map have counted."""
        return {one.name: self._counted(one, self._socket) for one in nft_text.outgrown(change) if one.counted}

    def _counted(self, one: NftMap, socket: NftSocket) -> dict[ElementKey, Counted]:
        """Of a map that is not there any more, or not yet, nothing."""

        def read() -> dict[ElementKey, Counted]:
            found: dict[ElementKey, Counted] = {}
            for columns in socket.elements(one):
                found.update(zip(columns.keys, map(Counted, columns.packets, columns.octets), strict=False))
            return found

        try:
            return steady(read)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return {}
            raise

    def _frame(self) -> str | None:
        """Our table without elements of maps: those come faster through netlink.

        Of the whole ruleset, as libnftables reads all elements for the listing of one table, though it prints none.
        """
        status, listing, said = self._nft().cmd("list ruleset inet")
        if status:
            raise _refusal(said)
        _, head, rest = f"\n{listing}".partition(f"\ntable {_TABLE} {{")
        return head.lstrip() + rest.partition("\n}\n")[0] + "\n}\n" if head else None


def _exists(nft: Any, name: str) -> bool:
    status, listing, said = nft.cmd("list tables inet")
    if status:
        raise _refusal(said)
    return f"table inet {name}" in listing.splitlines()


def _new_context() -> Any:
    try:
        import nftables  # noqa: PLC0415 - a Debian package; without it only this adapter fails
    except ImportError as error:
        raise KernelError("python3-nftables is missing; apt install python3-nftables") from error
    context = nftables.Nftables()
    context.set_numeric_proto_output(True)
    context.set_numeric_prio_output(True)
    context.set_stateless_output(True)
    context.set_terse_output(True)
    return context


def _refusal(said: str) -> KernelError:
    if _FORBIDDEN in said:
        return KernelError(f"nftables refused:\n{said.strip()}\nrun with CAP_NET_ADMIN", errno.EPERM)
    return KernelError(f"nftables refused:\n{said.strip()}")
