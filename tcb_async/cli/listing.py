"""Which functions are listed, and in which order.

Rule: pure. First the filters, then the order, then the number.

----

One listing, from the first request to the last byte.

Rule: what is of use in pieces is written piece by piece; everything else when it is complete.

----

``tcb-async list``.

Rule: options that contradict each other are refused before anything is asked.

----

``tcb-async count``: one small request.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from tcb_async.cli import signals
from tcb_async.cli.access import Demonstration
from tcb_async.cli.errors import EXIT_CODES, at_terminal
from tcb_async.cli.formats import FIELDS, DocumentFormat, Format, document_format
from tcb_async.cli.options import (
    Access,
    Demo,
    OptionalEnv,
    Verbose,
    checked_env,
    choice,
    whole_number,
    with_access,
)
from tcb_async.cli.output import Position, Sink, checked_file, opened, output_path
from tcb_async.cli.resume import Asked, ResumableFile, check_resume_path
from tcb_async.cli.screen import Meter, Screen, counted, print_table, table_as_text
from tcb_async.client import FunctionPager, TcbClient
from tcb_async.cursor import Cursor
from tcb_async.models import CloudFunction

if TYPE_CHECKING:
    Take = Callable[[Sequence[CloudFunction], Callable[[], Cursor]], bool]


SORTS = [*FIELDS, *(f"-{field}" for field in FIELDS)]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@attrs.frozen
class Selection:
    """What a user asked for.

    Attributes:
        statuses: Patterns; the status has to match one of them, whatever the case; none for any.
        runtimes: The same for the runtime.
        names: The same for the name, but here the case counts.
        sort: One of `SORTS`; None for the server's order.
        at_most: How many functions at most; None for all.
    """

    statuses: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    names: Sequence[str] = ()
    sort: str | None = None
    at_most: int | None = None

    @property
    def filters(self) -> str:
        """The filters as they are typed; empty if there are none."""
        given = (("--status", self.statuses), ("--runtime", self.runtimes), ("--name", self.names))
        words = [f"{option} {shlex.quote(one)}" for option, all_ in given for one in all_]
        return " ".join(words)

    def left(self, written: int) -> int | None:
        """How many more functions are wanted after so many; None for all that there are."""
        return None if self.at_most is None else max(0, self.at_most - written)

    def rows_needed(self, written: int) -> int | None:
        """How many more rows of the list are enough; None if all have to be seen."""
        return None if self.filters or self.sort else self.left(written)

    def is_enough(self, written: int) -> bool:
        """Whether this many functions, in the server's order, are all that is wanted."""
        return not self.sort and self.left(written) == 0

    def keep(self, functions: Iterable[CloudFunction]) -> list[CloudFunction]:
        """The functions that match."""
        return [function for function in functions if self._matches(function)]

    def arrange(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """The functions in the order that was asked for, and no more than were asked for."""
        arranged = list(functions)
        if self.sort:
            field = self.sort.removeprefix("-")
            arranged.sort(key=lambda one: _sort_key(one, field), reverse=self.sort != field)
        return arranged[: self.at_most]

    def _matches(self, function: CloudFunction) -> bool:
        status, runtime = function.status.casefold(), (function.runtime or "").casefold()
        return (
            _any_matches(self.names, function.name)
            and _any_matches([one.casefold() for one in self.statuses], status)
            and _any_matches([one.casefold() for one in self.runtimes], runtime)
        )


def _any_matches(patterns: Sequence[str], text: str) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


def _sort_key(function: CloudFunction, field: str) -> datetime | str:
    match field:
        case "add_time":
            return function.add_time or _LONG_AGO
        case "mod_time":
            return function.mod_time or _LONG_AGO
        case "runtime":
            return (function.runtime or "").casefold()
        case "status":
            return function.status
        case _:
            return function.name


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


LIST_EPILOG = f"""\
[bold]Examples[/bold]
  tcb-async list --demo
  tcb-async list test-777bb9 --status '*Failed'
  tcb-async list test-777bb9 --sort -mod_time -n 5
  tcb-async list test-777bb9 -f json | jq -r '.\\[].name'
  tcb-async list test-777bb9 -o f.csv --resume f.cursor

{EXIT_CODES}"""

_BY_SUFFIX = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.NDJSON,
    ".ndjson": Format.NDJSON,
    ".txt": Format.TABLE,
}
_FORMATS = [form.value for form in Format]
_STATUSES = [
    "Active", "Creating", "CreateFailed", "Updating", "UpdateFailed", "Publishing",
    "PublishFailed", "Deleting", "DeleteFailed",
]  # fmt: skip
_WHICH, _HOW, _REQUESTS = "Which functions", "Output", "Requests"

Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        parser=choice(_FORMATS, "; convert json for any other"),
        autocompletion=lambda: _FORMATS,
        help="table, json (one array), ndjson (one object per line) or csv; ndjson and csv are "
        "written page by page. Default: by the suffix of --output, else table.",
        rich_help_panel=_HOW,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="FIELD,…",
        autocompletion=lambda: list(FIELDS),
        help=f"Which columns, in which order: {', '.join(FIELDS)}.",
        rich_help_panel=_HOW,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a file, which appears when it is complete. - is stdout.",
        rich_help_panel=_HOW,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Keep in this file how far --output is, so that the same command continues after an "
        "interruption. It is deleted at the end.",
        rich_help_panel=_HOW,
    ),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="PATTERN",
        autocompletion=lambda: _STATUSES,
        help="Only this status, such as Active or '*Failed', in any case. May be repeated.",
        rich_help_panel=_WHICH,
    ),
]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        metavar="PATTERN",
        help="Only this runtime, such as 'Nodejs*', in any case. May be repeated.",
        rich_help_panel=_WHICH,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        metavar="PATTERN",
        help="Only these names, such as 'get*'; the case counts. May be repeated.",
        rich_help_panel=_WHICH,
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="FIELD",
        parser=choice(SORTS),
        autocompletion=lambda: SORTS,
        help=f"Sort by {', '.join(FIELDS[:-1])} or {FIELDS[-1]}; -mod_time begins with the "
        "newest. Default: the server's order.",
        rich_help_panel=_WHICH,
    ),
]
MaxItems = Annotated[
    int | None,
    typer.Option(
        "--max-items",
        "-n",
        metavar="N",
        parser=whole_number(least=1),
        help="At most N functions, after filters and --sort.",
        rich_help_panel=_WHICH,
    ),
]
PageSize = Annotated[
    int,
    typer.Option(
        "--page-size",
        metavar="N",
        parser=whole_number(least=1),
        help="Functions per request.",
        rich_help_panel=_REQUESTS,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency",
        metavar="N",
        parser=whole_number(least=1),
        help="The most requests at once.",
        rich_help_panel=_REQUESTS,
    ),
]


@with_access
def list_functions(  # noqa: PLR0913 - each is an option
    env: OptionalEnv = None,
    *,
    demo: Demo = False,
    status: Statuses = None,
    runtime: Runtimes = None,
    name: Names = None,
    sort: Sort = None,
    max_items: MaxItems = None,
    output_format: Formats = None,
    columns: Columns = None,
    output: Output = None,
    resume: Resume = None,
    page_size: PageSize = 20,
    concurrency: Concurrency = 8,
    access: Access,
    verbose: Verbose = False,
) -> None:
    """List the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        asked = checked_env(env, demo=demo)
        selection = Selection(status or (), runtime or (), name or (), sort, max_items)
        fields = _checked_columns(columns)
        target = output_path(output)
        form = Format(output_format) if output_format else _format_of(target)
        place = _resume_path(form, selection, target, resume)
        service = Demonstration(asked) if demo else access.service()
        listing = Listing(
            asked,
            form,
            selection,
            columns=fields,
            page_size=page_size,
            output=target,
            resume=place,
            source={**service.source},
        )

        async def work() -> None:
            async with service.open(concurrency=concurrency) as client:
                await listing.write(client, screen)

        signals.run(work)


def _checked_columns(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parse = choice(FIELDS)
    try:
        return list(dict.fromkeys(parse(word.strip()) for word in text.split(",")))
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint="--columns") from None


def _format_of(target: Path | None) -> Format:
    if target is None:
        return Format.TABLE
    found = _BY_SUFFIX.get(target.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f"pass it: the suffix {target.suffix!r} of --output is none of {', '.join(_BY_SUFFIX)}",
            param_hint="--format",
        )
    return found


def _resume_path(
    form: Format, selection: Selection, target: Path | None, resume: str | None
) -> Path | None:
    if resume is None:
        return None
    wrong = ""
    if target is None or (target.exists() and not target.is_file()):
        wrong = "needs --output FILE, a regular file: only that can be continued"
    elif form is Format.TABLE:
        wrong = "goes with --format json, ndjson or csv: a table is written at the end"
    elif selection.sort:
        wrong = "goes without --sort: a sorted list is written at the end"
    if wrong or target is None:
        raise typer.BadParameter(wrong, param_hint="--resume")
    place = checked_file("--resume", resume)
    check_resume_path(target, place)
    return place


COUNT_EPILOG = """\
[bold]Example[/bold]
  tcb-async count test-777bb9

The exit codes are in tcb-async --help."""


@with_access
def count(
    env: OptionalEnv = None, *, demo: Demo = False, access: Access, verbose: Verbose = False
) -> None:
    """Count the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        asked = checked_env(env, demo=demo)
        service = Demonstration(asked) if demo else access.service()

        async def work() -> None:
            async with service.open() as client:
                screen.write(b"%d\n" % await client.count_functions(asked))

        signals.run(work)
