"""``tcb-async list``, ``count``, ``environments``, ``merchants`` and ``token``.

Rule: options that contradict each other are refused before any request. First the filters, then the
order, then the number. What is of use in pieces is written page by page; everything else when it is
complete. No token, no appsecret and no refresh token is printed, nor any part of one.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import typer

from tcb_async.cli import signals
from tcb_async.cli.app import EXIT_CODES, at_terminal
from tcb_async.cli.formats import (
    FIELDS,
    FORMATS,
    TABLE,
    described,
    format_names,
    format_of,
    known_suffixes,
    print_table,
    table_as_text,
    write_rows,
)
from tcb_async.cli.options import (
    Access,
    argument,
    choice,
    command,
    in_panel,
    option,
    whole_number,
)
from tcb_async.cli.screen import Screen, Sink, counted, opened, output_path, showing_walk
from tcb_async.errcodes import is_token_accepted
from tcb_async.exceptions import ApiError, TcbError

if TYPE_CHECKING:
    from tcb_async.cli.access import Service
    from tcb_async.client import FunctionPager, TcbClient
    from tcb_async.models import CloudFunction

SORTS = [*FIELDS, *(f"-{field}" for field in FIELDS)]
_FUNCTIONS = ("function", "functions")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_SUFFIXES = {".txt": TABLE}


@attrs.frozen
class Selection:
    """Which functions a user asked for, by patterns, in which order and how many at most.

    Each pattern that is given has to match; the case counts in names alone.
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

    @property
    def rows_needed(self) -> int | None:
        """How many rows of the list are enough; None if all have to be seen."""
        return None if self.filters or self.sort else self.at_most

    @property
    def enough(self) -> int | None:
        """How many matches, in the server's order, are all that is wanted; None for all."""
        return None if self.sort else self.at_most

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
    value = getattr(function, field)
    if field in {"add_time", "mod_time"}:
        return value or _LONG_AGO
    return (value or "").casefold() if field == "runtime" else value


@attrs.define
class ListCommand:
    """One listing, from the first request to the last byte."""

    env: str
    format: str
    selection: Selection
    screen: Screen
    columns: Sequence[str] | None = None
    page_size: int | None = None
    output: Path | None = None
    is_quiet: bool = False
    _listed: int = attrs.field(default=0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)

    async def run(self, client: TcbClient) -> None:
        """Walk, and write."""
        walk = client.functions(
            self.env, max_items=self.selection.rows_needed, page_size=self.page_size
        )
        with opened(self.output, self.screen) as sink:
            await (self._stream if self._in_pieces else self._gather)(walk, sink)
        self._report(walk)

    @property
    def _in_pieces(self) -> bool:
        is_table = self.format == TABLE
        return not is_table and not self.selection.sort and FORMATS[self.format].streams

    async def _stream(self, walk: FunctionPager, sink: Sink) -> None:
        """Write each page as it arrives."""
        document = FORMATS[self.format](self.columns or FIELDS, sink.is_terminal)
        head = document.head
        async with aclosing(self._pages(walk)) as pages:
            async for rows in pages:
                sink.write(head + document.rows(rows, self._listed))
                head = b""
                self._listed += len(rows)
        sink.write(head + document.tail)

    async def _gather(self, walk: FunctionPager, sink: Sink) -> None:
        """Write everything, when everything has arrived."""
        async with aclosing(self._pages(walk)) as pages:
            functions = [function async for rows in pages for function in rows]
        arranged = self.selection.arrange(functions)
        self._listed = len(arranged)
        if self.format != TABLE:
            document = FORMATS[self.format](self.columns or FIELDS, sink.is_terminal)
            sink.write(document.whole(arranged))
        elif self.output is None:
            self._print_table(arranged)
        else:
            sink.write(table_as_text(arranged, self.columns).encode())

    async def _pages(self, walk: FunctionPager) -> AsyncGenerator[list[CloudFunction], None]:
        """Yield what is wanted of each page, until that is enough."""
        started, done, left = time.monotonic(), 0, self.selection.enough
        async with walk:
            with showing_walk(self.screen, self.env, walk, shown=self._is_meter_shown) as moved:
                async for page in walk.by_page():
                    moved(done := done + len(page.items))
                    rows = self.selection.keep(page.items)[:left]
                    yield rows
                    left = None if left is None else left - len(rows)
                    if left == 0:
                        break
        self._seconds = time.monotonic() - started

    @property
    def _is_meter_shown(self) -> bool:
        rows_scroll_by = self.screen.out.is_terminal and self.output is None
        return self.screen.is_watched and not (rows_scroll_by and self._in_pieces)

    def _report(self, walk: FunctionPager) -> None:
        """Say on stderr if nothing matched and what the listing cost."""
        filters = self.selection.filters
        if filters and not self._listed:
            of = counted(walk.total or 0, *_FUNCTIONS)
            case = "; the case of a name counts" if "--name" in filters else ""
            self.screen.say(f"none of {of} in {self.env} match {filters}{case}")
        if not self.is_quiet and (self.screen.is_watched or self.output is not None):
            self.screen.say(self._summary(walk))

    def _summary(self, walk: FunctionPager) -> str:
        stats, total = walk.stats, max(self._listed, walk.total or 0)
        facts = [counted(stats.requests, "request", "requests")]
        if stats.retries:
            facts.append(counted(stats.retries, "retry", "retries"))
        if stats.repairs:
            facts.append(counted(stats.repairs, "repair", "repairs") + ": the list changed")
        facts.append(f"{self._seconds:.1f} s")
        number = f"{self._listed:,} of " if self._listed != total else ""
        return f"{number}{counted(total, *_FUNCTIONS)} in {self.env} ({', '.join(facts)})"

    def _print_table(self, functions: Sequence[CloudFunction]) -> None:
        left_out = print_table(self.screen.out, functions, self.columns)
        if left_out:
            self.screen.say(
                f"left out to fit {self.screen.out.width} columns: {', '.join(left_out)}; use a "
                "wider terminal, or choose with --columns"
            )


LIST_EPILOG = f"""\
[bold]Examples[/bold]
  tcb-async list --demo
  tcb-async list test-777bb9 --status '*Failed'
  tcb-async list test-777bb9 --sort -mod_time -n 5
  tcb-async list test-777bb9 -f json | jq -r '.\\[].name'
  tcb-async list test-777bb9 -o all.csv

{EXIT_CODES}"""

_STATUSES = [
    "Active", "Creating", "CreateFailed", "Updating", "UpdateFailed", "Publishing",
    "PublishFailed", "Deleting", "DeleteFailed",
]  # fmt: skip
_LIST_OPTIONS = {
    **in_panel(
        "Which functions",
        status=option(
            "--status PATTERN",
            "Only this status, such as Active or '*Failed', in any case. May be repeated.",
            autocompletion=lambda: _STATUSES,
        ),
        runtime=option(
            "--runtime PATTERN",
            "Only this runtime, such as 'Nodejs*', in any case. May be repeated.",
        ),
        sort=option(
            "--sort FIELD",
            f"Sort by {', '.join(FIELDS[:-1])} or {FIELDS[-1]}; -mod_time begins with the newest. "
            "Default: the server's order.",
            choices=lambda: SORTS,
        ),
        max_items=option(
            "--max-items -n N",
            "At most N functions, after filters and --sort.",
            parser=whole_number(least=1),
        ),
    ),
    **in_panel(
        "Output",
        output_format=option(
            "--format -f FORMAT",
            f"{described()}; ndjson and csv are written page by page. Default: by the suffix of "
            "--output, else table.",
            choices=format_names,
            hint="; convert json for any other",
        ),
        columns=option(
            "--columns FIELD,…",
            f"Which columns, in which order: {', '.join(FIELDS)}.",
            autocompletion=lambda: list(FIELDS),
        ),
        output=option(
            "--output -o FILE", "Write a file, which appears when it is complete. - is stdout."
        ),
    ),
}


@command(**_LIST_OPTIONS)
def list_functions(  # noqa: PLR0913 - each is an option
    env: str | None = None,
    *,
    demo: bool = False,
    status: list[str] | None = None,
    runtime: list[str] | None = None,
    name: list[str] | None = None,
    sort: str | None = None,
    max_items: int | None = None,
    output_format: str | None = None,
    columns: str | None = None,
    output: str | None = None,
    page_size: int | None = None,
    concurrency: int | None = None,
    access: Access,
    quiet: bool = False,
    verbose: bool = False,
) -> None:
    """List the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(env, demo=demo)
        target = output_path(output)
        job = ListCommand(
            service.env,
            output_format or _format_for(target),
            Selection(status or (), runtime or (), name or (), sort, max_items),
            screen,
            columns=_checked_columns(columns),
            page_size=page_size,
            output=target,
            is_quiet=quiet,
        )

        async def work() -> None:
            async with service.open(concurrency=concurrency) as client:
                await job.run(client)

        signals.run(work)


def _checked_columns(text: str | None) -> list[str] | None:
    if text is None:
        return None
    parse = choice(lambda: FIELDS)
    try:
        return list(dict.fromkeys(parse(word.strip()) for word in text.split(",")))
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint="--columns") from None


def _format_for(target: Path | None) -> str:
    if target is None:
        return TABLE
    found = _SUFFIXES.get(target.suffix.lower()) or format_of(target.suffix)
    if found is None:
        known = ", ".join([*known_suffixes(), *_SUFFIXES])
        raise typer.BadParameter(
            f"pass it: the suffix {target.suffix!r} of --output is none of {known}",
            param_hint="--format",
        )
    return found


COUNT_EPILOG = """\
[bold]Example[/bold]
  tcb-async count test-777bb9

The exit codes are in tcb-async --help."""


@command()
def count(
    env: str | None = None, *, demo: bool = False, access: Access, verbose: bool = False
) -> None:
    """Count the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(env, demo=demo)

        async def work() -> None:
            async with service.open() as client:
                screen.write(b"%d\n" % await client.count_functions(service.env))

        signals.run(work)


ENVIRONMENTS_EPILOG = """\
[bold]Examples[/bold]
  tcb-async environments
  tcb-async environments -f json | jq -r '.\\[].env'

The exit codes are in tcb-async --help."""

_ENVIRONMENT_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")


@command()
def environments(
    *, form: str = TABLE, demo: bool = False, access: Access, verbose: bool = False
) -> None:
    """List the environments of an account."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(demo=demo)

        async def work() -> None:
            async with service.open() as client:
                write_rows(screen, await client.list_environments(), _ENVIRONMENT_COLUMNS, form)

        signals.run(work)


MERCHANTS_EPILOG = """\
[bold]Examples[/bold]
  export TCB_COMPONENT_APPID=… TCB_COMPONENT_SECRET=…
  export TCB_COMPONENT_TICKET=…
  tcb-async merchants
  tcb-async merchants -f csv > merchants.csv

Refresh tokens are not printed. TcbClient has them:
iter_authorizers().

The exit codes are in tcb-async --help."""

_MERCHANT_COLUMNS = ("authorizer_appid", "auth_time")


@command(lacks=("token_file", "appid", "redis"))
def merchants(  # noqa: PLR0913 - each is an option
    *,
    component_appid: str | None = None,
    ticket_file: str | None = None,
    form: str = TABLE,
    demo: bool = False,
    access: Access,
    verbose: bool = False,
) -> None:
    """List the merchants of a third-party platform (第三方平台)."""
    with at_terminal(verbose=verbose) as screen:
        if not component_appid and not demo:
            raise typer.BadParameter(
                "name the platform, or set TCB_COMPONENT_APPID; or pass --demo",
                param_hint="--component-appid",
            )
        # The client: help, completion and usage errors do not wait for it.
        from tcb_async.cli.access import AskedAccounts, demo_merchants  # noqa: PLC0415

        asked = AskedAccounts(
            access=access, component_appid=component_appid, ticket_file=ticket_file
        )
        opened_accounts = demo_merchants if demo else asked.prepare()

        async def work() -> None:
            async with opened_accounts(None) as found:
                rows = await found.client.authorizers().collect()
                write_rows(screen, rows, _MERCHANT_COLUMNS, form)

        signals.run(work)


CHECK_EPILOG = """\
[bold]Examples[/bold]
  tcb-async token
  tcb-async token test-777bb9 --appid wx0123456789abcdef

[bold]Exit codes[/bold]
    0  accepted
    3  refused, or there is none
    4  accepted, but not for this environment
    5  the service or the network failed
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)"""

_NO_ENV = "token-check"


@command(env=argument("ENV", "Check that it may list this environment, too."))
def token(
    env: str | None = None, *, demo: bool = False, access: Access, verbose: bool = False
) -> None:
    """Check the token: whose it is, how long it lives, whether WeChat accepts it."""
    with at_terminal(verbose=verbose) as screen:
        service = access.service(env or "", demo=demo)
        screen.write(f"account   {service.owner}\n".encode())
        signals.run(lambda: _check(service, screen, env))


async def _check(service: Service, screen: Screen, env: str | None) -> None:
    async with service.session() as (provider, client):
        accepted = await _is_accepted(client, env)
        life = _life(getattr(provider, "expires_at", None))
    screen.write(f"lifetime  {life}\naccepted  {accepted}, by {service.address}\n".encode())


async def _is_accepted(client: TcbClient, env: str | None) -> str:
    """Ask for one row. Without an environment, a refusal of that alone means that it is a token."""
    try:
        await client.function_page(env or _NO_ENV, limit=1)
    except TcbError as error:
        if env is None and isinstance(error, ApiError) and is_token_accepted(error.errcode):
            return "yes"
        if env is None:
            error.env = error.offset = None
        raise
    return "yes" if env is None else f"yes, for {env}"


def _life(expires_at: float | None) -> str:
    if expires_at is None:
        return "unknown: WeChat tells it only to the one that fetches the token"
    until = datetime.fromtimestamp(expires_at).astimezone()
    return f"another {(expires_at - time.time()) / 60:.0f} min, until {until:%Y-%m-%d %H:%M:%S}"


COMMANDS = {
    "list": (list_functions, LIST_EPILOG),
    "count": (count, COUNT_EPILOG),
    "environments": (environments, ENVIRONMENTS_EPILOG),
    "merchants": (merchants, MERCHANTS_EPILOG),
    "token": (token, CHECK_EPILOG),
}
