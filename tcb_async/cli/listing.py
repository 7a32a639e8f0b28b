"""``tcb-async list`` and ``count``.

Rule: contradictory options are refused before any request. A format that programs can read in part
is written page by page, every other when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from tcb_async.cli.credentials import choose_service
from tcb_async.cli.exits import EXIT_CODES, run_command
from tcb_async.cli.files import Sink, open_output, output_path
from tcb_async.cli.formats import (
    FIELDS,
    FORMATS,
    TABLE,
    Document,
    Field,
    Format,
    choose_format,
    format_table,
    print_table,
)
from tcb_async.cli.options import FORMAT, OUTPUT, Access, Env, FileOrStream, Quiet, Requests, choose
from tcb_async.cli.progress import show_walk
from tcb_async.cli.screen import Screen, plural
from tcb_async.cli.selection import Selection
from tcb_async.models import CloudFunction

if TYPE_CHECKING:
    from tcb_async.client import FunctionPager, TcbClient

_PLAIN = (".txt",)
_ADVICE = "pass --format, or choose from"

list_command = App(
    name="list",
    usage="tcb-async list [OPTIONS] [ENV]",
    help_epilogue=rf"""[bold]Examples[/bold]
  tcb-async list --demo
  tcb-async list test-777bb9 --status '*Failed'
  tcb-async list test-777bb9 --sort -mod_time -n 5
  tcb-async list test-777bb9 -f json | jq -r '.\[].name'
  tcb-async list test-777bb9 -o all.csv

{EXIT_CODES}""",
)


@list_command.default
def list_functions(
    env: Env = None,
    /,
    *,
    selection: Selection = Selection(),
    output_format: Annotated[Format | None, FORMAT, Parameter(group=OUTPUT)] = None,
    columns: Annotated[
        list[Field] | None,
        Parameter(group=OUTPUT, metavar="FIELD,…", converter=choose, n_tokens=1, show_choices=True),
    ] = None,
    output: Annotated[FileOrStream, Parameter(("--output", "-o"), group=OUTPUT)] = None,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: Access = Access(),
) -> None:
    """List the functions of an environment.

    Args:
        output_format: ndjson is one object per line. Default: by the suffix of --output, or table.
        columns: Which columns, in which order.
        output: Write a file, which appears when it is complete. - is stdout.
    """
    with run_command(verbose=access.verbose) as screen:
        service, target = choose_service(env, access), output_path(output)
        name = output_format or (target and choose_format(target, _PLAIN, _ADVICE)) or TABLE
        document = None if name == TABLE else FORMATS[name]
        job = ListJob(
            screen, service.env, selection, document, columns, target, requests.page_size, quiet
        )
        service.run(job.work, requests.concurrency)


@attrs.define
class ListJob:
    """One run of ``list``: the walk, the document and the summary."""

    screen: Screen
    env: str
    selection: Selection
    document: type[Document] | None  # None for a table
    columns: Sequence[Field] | None
    target: Path | None
    page_size: int | None
    is_quiet: bool
    _listed: int = attrs.field(default=0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)

    async def work(self, client: TcbClient) -> None:
        # Filters and the order are applied here: only without them, the first N rows are enough.
        needs_all = self.selection.filters or self.selection.sort
        most = None if needs_all else self.selection.max_items
        walk = client.functions(self.env, max_items=most, page_size=self.page_size)
        with open_output(self.target, self.screen) as sink:
            document = None
            if self.document is not None:
                document = self.document(self.columns or FIELDS, sink.is_terminal)
            async with aclosing(self._pages(walk)) as pages:
                if document is not None and self._is_streamed:
                    await self._stream(document, pages, sink)
                else:
                    functions = [function async for rows in pages for function in rows]
                    self._write(document, functions, sink)
        self._report(walk)

    @property
    def _is_streamed(self) -> bool:
        return self.document is not None and self.document.streams and not self.selection.sort

    async def _stream(
        self, document: Document, pages: AsyncIterator[list[CloudFunction]], sink: Sink
    ) -> None:
        head = document.head  # with the first page, so that an error before it writes nothing
        async for rows in pages:
            sink.write(head + document.rows(rows, self._listed))
            head = b""
            self._listed += len(rows)
        sink.write(head + document.tail)

    def _write(
        self, document: Document | None, functions: Sequence[CloudFunction], sink: Sink
    ) -> None:
        arranged = self.selection.arrange(functions)
        self._listed = len(arranged)
        if document is not None:
            sink.write(document.whole(arranged))
        elif self.target is None:
            print_table(self.screen, arranged, self.columns)
        else:
            sink.write(format_table(arranged, self.columns).encode())

    async def _pages(self, walk: FunctionPager) -> AsyncGenerator[list[CloudFunction], None]:
        """Yield the selected functions of each page, until there are enough."""
        started, done = time.monotonic(), 0
        # With --sort, the first functions are known only when the list is complete.
        left = None if self.selection.sort else self.selection.max_items
        async with walk:
            with show_walk(self.screen, self.env, walk, shown=self._is_meter_shown) as set_done:
                async for page in walk.by_page():
                    set_done(done := done + len(page.items))
                    rows = [row for row in page.items if self.selection.matches(row)][:left]
                    yield rows
                    left = None if left is None else left - len(rows)
                    if left == 0:
                        break
        self._seconds = time.monotonic() - started

    @property
    def _is_meter_shown(self) -> bool:
        # A bar below scrolling rows would be drawn again after each of them.
        rows_scroll_by = self.screen.out.is_terminal and self.target is None
        return self.screen.is_watched and not (rows_scroll_by and self._is_streamed)

    def _report(self, walk: FunctionPager) -> None:
        filters = self.selection.filters
        if filters and not self._listed:
            functions = plural(walk.total or 0, "function")
            advice = self.selection.advice
            self.screen.say(f"none of {functions} in {self.env} match {filters}{advice}")
        if not self.is_quiet and (self.screen.is_watched or self.target is not None):
            self.screen.say(self._summary(walk))

    def _summary(self, walk: FunctionPager) -> str:
        stats, total = walk.stats, max(self._listed, walk.total or 0)
        facts = [plural(stats.requests, "request")]
        if stats.retries:
            facts.append(plural(stats.retries, "retry", "retries"))
        if stats.repairs:
            facts.append(plural(stats.repairs, "repair") + ": the list changed")
        facts.append(f"{self._seconds:.1f} s")
        number = f"{self._listed:,} of " if self._listed != total else ""
        return f"{number}{plural(total, 'function')} in {self.env} ({', '.join(facts)})"


count_command = App(
    name="count",
    usage="tcb-async count [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Example[/bold]
  tcb-async count test-777bb9

The exit codes are in tcb-async --help.""",
)


@count_command.default
def count_functions(env: Env = None, /, *, access: Access = Access()) -> None:
    """Count the functions of an environment."""
    with run_command(verbose=access.verbose) as screen:
        service = choose_service(env, access)

        async def work(client: TcbClient) -> None:
            screen.write(b"%d\n" % await client.count_functions(service.env))

        service.run(work)
