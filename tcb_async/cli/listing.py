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
    Field,
    Format,
    choose_format,
    format_rows,
    write_rows,
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
        job = ListJob(
            screen,
            service.env,
            selection,
            name,
            columns or FIELDS,
            target,
            requests.page_size,
            quiet,
        )
        service.run(job.work, requests.concurrency)


@attrs.define
class ListJob:
    """One run of ``list``: the walk, the document and the summary."""

    screen: Screen
    env: str
    selection: Selection
    output_format: Format
    columns: Sequence[Field]
    target: Path | None
    page_size: int | None
    is_quiet: bool
    _listed: int = attrs.field(default=0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)

    async def work(self, client: TcbClient) -> None:
        # Filters and the order are applied here: only without them, the first N rows are enough.
        needs_all = self.selection.filters or self.selection.sort
        max_items = None if needs_all else self.selection.max_items
        walk = client.functions(self.env, max_items=max_items, page_size=self.page_size)
        with open_output(self.target, self.screen) as sink:
            async with aclosing(self._pages(walk)) as pages:
                if self._is_streamed:
                    await self._stream(pages, sink)
                else:
                    functions = [function async for rows in pages for function in rows]
                    self._write(self.selection.arrange(functions), sink)
        self._report(walk)

    @property
    def _is_streamed(self) -> bool:
        is_table = self.output_format == TABLE
        return not is_table and FORMATS[self.output_format].is_streamed and not self.selection.sort

    async def _stream(self, pages: AsyncIterator[list[CloudFunction]], sink: Sink) -> None:
        document = FORMATS[self.output_format](self.columns, sink.is_terminal)
        head = document.head  # with the first page, so that an error before it writes nothing
        async for rows in pages:
            sink.write(head + b"".join(map(document.row, rows)))
            head = b""
            self._listed += len(rows)
        sink.write(head)

    def _write(self, functions: Sequence[CloudFunction], sink: Sink) -> None:
        self._listed = len(functions)
        if self.target is None:
            write_rows(self.screen, functions, self.columns, self.output_format)
        else:
            sink.write(format_rows(functions, self.columns, self.output_format, sink.is_terminal))

    async def _pages(self, walk: FunctionPager) -> AsyncGenerator[list[CloudFunction], None]:
        """Yield the selected functions of each page, until there are enough."""
        started, done = time.monotonic(), 0
        # With --sort, the first functions are known only when the list is complete.
        remaining = None if self.selection.sort else self.selection.max_items
        async with walk:
            with show_walk(self.screen, self.env, walk, is_shown=self._is_bar_shown) as set_done:
                async for page in walk.by_page():
                    set_done(done := done + len(page.items))
                    rows = [row for row in page.items if self.selection.matches(row)]
                    yield rows[:remaining]
                    if remaining is not None and (remaining := max(0, remaining - len(rows))) == 0:
                        break
        self._seconds = time.monotonic() - started

    @property
    def _is_bar_shown(self) -> bool:
        # A bar below scrolling rows would be drawn again after each of them.
        is_scrolling = self._is_streamed and self.target is None and self.screen.out.is_terminal
        return self.screen.is_watched and not is_scrolling

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
        if stats.drift:
            facts.append(plural(stats.passes, "pass", "passes") + ": the list changed")
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
