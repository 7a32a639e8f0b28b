"""One listing, from the first request to the last byte.

Rule: what is of use in pieces is written piece by piece; everything else when it is complete.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from tcb_async.cli.formats import FIELDS, Format, document_format
from tcb_async.cli.output import Position, opened
from tcb_async.cli.progress import Meter, counted
from tcb_async.cli.resume import ResumableFile
from tcb_async.cli.table import print_table, table_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from tcb_async.cli.formats import DocumentFormat
    from tcb_async.cli.output import Sink
    from tcb_async.cli.resume import Asked
    from tcb_async.cli.screen import Screen
    from tcb_async.cli.selection import Selection
    from tcb_async.client import FunctionPager, TcbClient
    from tcb_async.cursor import Cursor
    from tcb_async.models import CloudFunction

    Take = Callable[[Sequence[CloudFunction], Callable[[], Cursor]], bool]

__all__ = ["Listing"]


@attrs.frozen
class Listing:
    """What a user wants listed, how, and where to.

    Attributes:
        env: The environment's id.
        format: How.
        columns: Which fields, in this order; None for all.
        selection: Which functions.
        page_size: Functions per request.
        output: A file, a device or a pipe; None for stdout.
        resume: The resume file; None if the listing cannot be continued.
        source: The service and the account: an export of another one is not continued.
    """

    env: str
    format: Format
    selection: Selection
    columns: Sequence[str] | None = None
    page_size: int = 20
    output: Path | None = None
    resume: Path | None = None
    source: Asked = attrs.field(factory=dict[str, "str | int | list[str] | None"])

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
        work.report()

    @property
    def in_pieces(self) -> bool:
        """Whether each page is written as it arrives."""
        if self.format is Format.TABLE or self.selection.sort:
            return False
        return self.resume is not None or document_format(self.format).streams

    @property
    def _asked(self) -> Asked:
        return {
            **self.source,
            "env": self.env,
            "--format": self.format.value,
            "--columns": list(self.columns or ()),
            "--output": str(self.output),
            "--status": list(self.selection.statuses),
            "--runtime": list(self.selection.runtimes),
            "--name": list(self.selection.names),
            "--max-items": self.selection.at_most,
        }

    @contextmanager
    def _sink(self, screen: Screen) -> Generator[Sink | None]:
        if self.output is None or self.resume is None:
            with opened(self.output, screen) as sink:
                yield sink
        else:
            part: ResumableFile | None = None
            try:
                with ResumableFile.at(self.output, self.resume, self._asked) as part:
                    yield part
            except BaseException:
                if part is not None and part.is_kept:
                    screen.say("what has arrived is kept: run the same command again to continue")
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

    @property
    def document(self) -> DocumentFormat:
        columns = self.listing.columns or FIELDS
        return document_format(self.listing.format, columns, escaped=self.sink.is_terminal)

    async def stream(self) -> None:
        """Write each page as it arrives."""
        selection, begun, document = self.listing.selection, self.sink.begun, self.document
        written, seen = begun.written, begun.seen
        head = b"" if begun.cursor else document.head

        def take(functions: Sequence[CloudFunction], cursor: Callable[[], Cursor]) -> bool:
            nonlocal written, seen, head
            rows = selection.keep(functions)[: selection.left(written)]
            data = head + document.rows(rows, written)
            head = b""
            written += len(rows)
            seen += len(functions)
            self.sink.write(data, Position(written, seen, cursor))
            return selection.is_enough(written)

        if not selection.is_enough(written):
            await self._walk(take, selection.rows_needed(written))
        self.sink.write(head + document.tail)
        self.listed = written

    async def gather(self) -> None:
        """Write everything, when everything has arrived."""
        listing, selection = self.listing, self.listing.selection
        functions: list[CloudFunction] = []

        def take(more: Sequence[CloudFunction], _cursor: object) -> bool:
            functions.extend(selection.keep(more))
            return selection.is_enough(len(functions))

        await self._walk(take, selection.rows_needed(0))
        arranged = selection.arrange(functions)
        self.listed = len(arranged)
        if listing.format is not Format.TABLE:
            document = self.document
            self.sink.write(document.head + document.rows(arranged, 0) + document.tail)
        elif listing.output is None:
            self._print_table(arranged)
        else:
            self.sink.write(table_as_text(arranged, listing.columns).encode())

    def report(self) -> None:
        """Say on stderr if nothing matched and, on a terminal, what the listing cost."""
        filters = self.listing.selection.filters
        if filters and not self.listed:
            of = "" if self.pager is None else f" of {counted(self.pager.total or 0, *_FUNCTIONS)}"
            case = "; the case of a name counts" if "--name" in filters else ""
            self.screen.say(f"none{of} in {self.listing.env} match {filters}{case}")
        if self.screen.is_watched:
            self.screen.say(self._summary())

    def _summary(self) -> str:
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
        return f"{number}{counted(total, *_FUNCTIONS)} in {self.listing.env} ({', '.join(facts)})"

    def _print_table(self, functions: Sequence[CloudFunction]) -> None:
        left_out = print_table(self.screen.out, functions, self.listing.columns)
        if left_out:
            self.screen.say(
                f"left out to fit {self.screen.out.width} columns: {', '.join(left_out)}; use a "
                "wider terminal, or choose with --columns"
            )

    async def _walk(self, take: Take, at_most: int | None) -> None:
        listing, begun, started = self.listing, self.sink.begun, time.monotonic()
        meter = Meter(self.screen, listing.env, begun.seen, shown=self._is_meter_shown)
        async with self.client.functions(
            listing.env,
            page_size=listing.page_size,
            max_items=at_most,
            resume=begun.cursor or None,
            on_progress=meter.moved,
        ) as pager:
            self.pager = pager
            with meter.showing(pager.stats):
                async for page in pager.by_page():
                    if take(page.items, lambda: pager.cursor):
                        break
        self.seconds = time.monotonic() - started

    @property
    def _is_meter_shown(self) -> bool:
        rows_scroll_by = self.screen.out.is_terminal and self.listing.output is None
        return self.screen.is_watched and not (rows_scroll_by and self.listing.in_pieces)


_FUNCTIONS = ("function", "functions")
