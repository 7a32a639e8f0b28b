"""One listing from the first request to the last byte.

Rule: what is of use in pieces is written piece by piece; everything else when it is whole.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from tcb_async.cli.export import AtomicFile, ToStdout
from tcb_async.cli.formats import FORMATS, Format
from tcb_async.cli.progress import Meter, counted
from tcb_async.cli.resume import ResumableFile
from tcb_async.cli.table import print_table, table_as_text
from tcb_async.exceptions import DriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from tcb_async.cli.export import Sink
    from tcb_async.cli.resume import Asked
    from tcb_async.cli.screen import Screen
    from tcb_async.cli.selection import Selection
    from tcb_async.client import FunctionPager, TcbClient
    from tcb_async.cursor import Cursor
    from tcb_async.models import CloudFunction

    Take = Callable[[Sequence[CloudFunction], Cursor], bool]

__all__ = ["Listing"]


@attrs.frozen
class Listing:
    """What a user wants listed, how, and where to.

    Attributes:
        env: The environment's id.
        format: How.
        selection: Which functions.
        page_size: Functions per request.
        output: The file; None for stdout.
        resume: Where the cursor is kept; None if the listing cannot be gone on with.
    """

    env: str
    format: Format
    selection: Selection
    page_size: int
    output: Path | None
    resume: Path | None

    async def write(self, client: TcbClient, screen: Screen) -> None:
        """Walk, and write.

        Raises:
            TcbError: The walk failed.
            OSError: The file or stdout cannot be written.
        """
        with self._sink(screen) as sink:
            if sink is None:
                return
            work = _Work(self, client, screen, sink)
            await (work.stream() if self.in_pieces else work.gather())
        if screen.is_watched:
            screen.say(work.summary())

    @property
    def in_pieces(self) -> bool:
        """Whether each page is written as it arrives."""
        if self.format is Format.TABLE or self.selection.sort:
            return False
        return self.resume is not None or FORMATS[self.format].streams

    @property
    def _asked(self) -> Asked:
        return {
            "env": self.env,
            "format": self.format.value,
            "output": str(self.output),
            "status": list(self.selection.statuses),
            "runtime": list(self.selection.runtimes),
            "name": list(self.selection.names),
            "max-items": self.selection.at_most,
        }

    @contextmanager
    def _sink(self, screen: Screen) -> Generator[Sink | None]:
        if self.output is None:
            yield ToStdout(screen)
        elif self.resume is None:
            with AtomicFile.at(self.output) as file:
                yield file
        else:
            names_in = FORMATS[self.format].names
            try:
                with ResumableFile.at(self.output, self.resume, self._asked, names_in) as part:
                    yield part
            except BaseException:
                if self.resume.exists():
                    screen.say("what has come is kept: the same command goes on from there")
                raise


@attrs.define
class _Work:
    listing: Listing
    client: TcbClient
    screen: Screen
    sink: Sink
    listed: int = 0
    seconds: float = 0.0
    pager: FunctionPager | None = None

    async def stream(self) -> None:
        """Write each page as it arrives.

        If an earlier sitting's place cannot be found again, the walk begins anew, and what that
        sitting wrote is passed over.
        """
        selection, begun = self.listing.selection, self.sink.begun
        document = FORMATS[self.listing.format]
        written = begun.written
        head = document.head if begun.cursor is None else b""

        names = set(begun.names)

        def take(functions: Sequence[CloudFunction], cursor: Cursor) -> bool:
            nonlocal written, head
            unknown = [function for function in functions if function.name not in names]
            rows = unknown[: selection.left(written)]
            data = head + document.rows(rows, written)
            head = b""
            written += len(rows)
            if begun.cursor is not None:
                names.update(function.name for function in rows)
            self.sink.write(data, written, cursor)
            return selection.is_enough(written)

        if not selection.is_enough(written):
            try:
                await self._walk(take, begun.cursor, selection.rows_needed(written))
            except DriftError:
                if begun.cursor is None:
                    raise
                await self._walk(take, None, None)
        self.sink.write(head + document.tail, written, None)
        self.listed = written

    async def gather(self) -> None:
        """Write everything, when everything has arrived."""
        functions: list[CloudFunction] = []

        def take(more: Sequence[CloudFunction], _cursor: Cursor) -> bool:
            functions.extend(more)
            return self.listing.selection.is_enough(len(functions))

        await self._walk(take, None, self.listing.selection.rows_needed(0))
        arranged = self.listing.selection.arrange(functions)
        self.listed = len(arranged)
        if self.listing.format is not Format.TABLE:
            document = FORMATS[self.listing.format]
            data = document.head + document.rows(arranged, 0) + document.tail
            self.sink.write(data, len(arranged), None)
        elif self.listing.output is None:
            print_table(self.screen.out, arranged)
        else:
            self.sink.write(table_as_text(arranged).encode(), len(arranged), None)

    def summary(self) -> str:
        """Say how many functions were listed, and what that cost."""
        facts: list[str] = []
        total = self.listed
        if self.pager is not None:
            stats, total = self.pager.stats, max(total, self.pager.total or 0)
            facts.append(counted(stats.requests, "request", "requests"))
            if stats.retries:
                facts.append(counted(stats.retries, "retry", "retries"))
            if stats.repairs:
                facts.append(counted(stats.repairs, "repair", "repairs") + ": the list changed")
        facts.append(f"{self.seconds:.1f} s")
        number = f"{self.listed:,} of " if self.listed != total else ""
        functions = counted(total, "function", "functions")
        return f"{number}{functions} in {self.listing.env} ({', '.join(facts)})"

    async def _walk(self, take: Take, resume: Cursor | None, at_most: int | None) -> None:
        listing, started = self.listing, time.monotonic()
        behind = 0 if resume is None else resume.offset + 1
        meter = Meter(self.screen, listing.env, behind, shown=self._is_meter_shown)
        async with self.client.functions(
            listing.env,
            page_size=listing.page_size,
            max_items=at_most,
            resume=resume,
            on_progress=meter.moved,
        ) as self.pager:
            with meter.showing(self.pager.stats):
                async for page in self.pager.by_page():
                    if take(listing.selection.keep(page.items), self.pager.cursor):
                        break
        self.seconds = time.monotonic() - started

    @property
    def _is_meter_shown(self) -> bool:
        lines_go_by = self.screen.out.is_terminal and self.listing.output is None
        return self.screen.is_watched and not (lines_go_by and self.listing.in_pieces)
