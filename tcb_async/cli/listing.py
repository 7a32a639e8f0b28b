"""``tcb-async list``, ``count``, ``environments``, ``merchants`` and ``token``.

Rule: options that contradict each other are refused before any request. First the filters, then the
order, then the number. What is of use in pieces is written page by page; everything else when it is
complete. No token, no appsecret and no refresh token is printed, nor any part of one.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import typer

from tcb_async.cli import signals
from tcb_async.cli.app import EXIT_CODES
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
    MANY,
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
from tcb_async.models import CloudFunction

if TYPE_CHECKING:
    from tcb_async.client import FunctionPager, TcbClient

SORTS = [*FIELDS, *(f"-{field}" for field in FIELDS)]
_SUFFIXES = {".txt": TABLE}


@attrs.frozen
class Selection:
    """Which functions a user asked for, by patterns, in which order and how many at most.

    Each pattern that is given has to match; the case counts in names alone.
    """

    status: list[str] | None = None
    runtime: list[str] | None = None
    name: list[str] | None = None
    sort: str | None = None
    max_items: int | None = None

    @property
    def filters(self) -> str:
        """The filters as they are typed; empty if there are none."""
        given = (("--status", self.status), ("--runtime", self.runtime), ("--name", self.name))
        words = [f"{option} {shlex.quote(one)}" for option, all_ in given for one in all_ or ()]
        return " ".join(words)

    def arrange(self, functions: Sequence[CloudFunction]) -> list[CloudFunction]:
        """The functions in the order that was asked for, and no more than were asked for."""
        arranged = list(functions)
        if self.sort:
            field = self.sort.removeprefix("-")
            plain = str.casefold if field == "runtime" else str
            arranged.sort(
                key=lambda one: plain(str(getattr(one, field) or "")), reverse=self.sort != field
            )
        return arranged[: self.max_items]

    def matches(self, function: CloudFunction) -> bool:
        return (
            _any_matches(self.name, function.name)
            and _any_matches(self.status, function.status, str.casefold)
            and _any_matches(self.runtime, function.runtime or "", str.casefold)
        )


def _any_matches(patterns: list[str] | None, text: str, plain: Callable[[str], str] = str) -> bool:
    return not patterns or any(fnmatchcase(plain(text), plain(one)) for one in patterns)


@attrs.define(kw_only=True)
class ListCommand:
    r"""List the functions of an environment.

    [bold]Examples[/bold]
      tcb-async list --demo
      tcb-async list test-777bb9 --status '*Failed'
      tcb-async list test-777bb9 --sort -mod_time -n 5
      tcb-async list test-777bb9 -f json | jq -r '.\[].name'
      tcb-async list test-777bb9 -o all.csv
    """

    screen: Screen
    access: Access
    selection: Selection
    output_format: str | None = None
    columns: Sequence[str] | None = None
    output: str | None = None
    page_size: int | None = None
    concurrency: int | None = None
    quiet: bool = False
    _env: str = attrs.field(default="", init=False)
    _format: str = attrs.field(default=TABLE, init=False)
    _target: Path | None = attrs.field(default=None, init=False)
    _listed: int = attrs.field(default=0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)

    def run(self) -> None:
        service = self.access.service()
        self._env, self._target = service.env, output_path(self.output)
        self._format = self.output_format or _format_for(self._target)
        service.run(self._list, concurrency=self.concurrency)

    async def _list(self, client: TcbClient) -> None:
        needs_all = self.selection.filters or self.selection.sort
        most = None if needs_all else self.selection.max_items
        walk = client.functions(self._env, max_items=most, page_size=self.page_size)
        with opened(self._target, self.screen) as sink:
            await (self._stream if self._in_pieces else self._gather)(walk, sink)
        self._report(walk)

    @property
    def _in_pieces(self) -> bool:
        is_table = self._format == TABLE
        return not is_table and not self.selection.sort and FORMATS[self._format].streams

    async def _stream(self, walk: FunctionPager, sink: Sink) -> None:
        document = FORMATS[self._format](self.columns or FIELDS, sink.is_terminal)
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
        if self._format != TABLE:
            document = FORMATS[self._format](self.columns or FIELDS, sink.is_terminal)
            sink.write(document.whole(arranged))
        elif self._target is None:
            print_table(self.screen, arranged, self.columns)
        else:
            sink.write(table_as_text(arranged, self.columns).encode())

    async def _pages(self, walk: FunctionPager) -> AsyncGenerator[list[CloudFunction], None]:
        """Yield what is wanted of each page, until that is enough."""
        started, done = time.monotonic(), 0
        left = None if self.selection.sort else self.selection.max_items
        async with walk:
            with showing_walk(self.screen, self._env, walk, shown=self._is_meter_shown) as moved:
                async for page in walk.by_page():
                    moved(done := done + len(page.items))
                    rows = [one for one in page.items if self.selection.matches(one)][:left]
                    yield rows
                    left = None if left is None else left - len(rows)
                    if left == 0:
                        break
        self._seconds = time.monotonic() - started

    @property
    def _is_meter_shown(self) -> bool:
        rows_scroll_by = self.screen.out.is_terminal and self._target is None
        return self.screen.is_watched and not (rows_scroll_by and self._in_pieces)

    def _report(self, walk: FunctionPager) -> None:
        filters = self.selection.filters
        if filters and not self._listed:
            of = counted(walk.total or 0, "function")
            case = "; the case of a name counts" if "--name" in filters else ""
            self.screen.say(f"none of {of} in {self._env} match {filters}{case}")
        if not self.quiet and (self.screen.is_watched or self._target is not None):
            self.screen.say(self._summary(walk))

    def _summary(self, walk: FunctionPager) -> str:
        stats, total = walk.stats, max(self._listed, walk.total or 0)
        facts = [counted(stats.requests, "request")]
        if stats.retries:
            facts.append(counted(stats.retries, "retry", "retries"))
        if stats.repairs:
            facts.append(counted(stats.repairs, "repair") + ": the list changed")
        facts.append(f"{self._seconds:.1f} s")
        number = f"{self._listed:,} of " if self._listed != total else ""
        return f"{number}{counted(total, 'function')} in {self._env} ({', '.join(facts)})"


_STATUSES = [
    "Active", "Creating", "CreateFailed", "Updating", "UpdateFailed", "Publishing",
    "PublishFailed", "Deleting", "DeleteFailed",
]  # fmt: skip


def _parsed_columns(text: str) -> list[str]:
    parse = choice(lambda: FIELDS)
    return list(dict.fromkeys(parse(word.strip()) for word in text.split(",")))


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
            parser=_parsed_columns,
            autocompletion=lambda: list(FIELDS),
        ),
        output=option(
            "--output -o FILE", "Write a file, which appears when it is complete. - is stdout."
        ),
    ),
}


list_command = command(ending=f"\n\n{EXIT_CODES}", **_LIST_OPTIONS)(ListCommand)


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


@command()
def count_command(screen: Screen, access: Access) -> None:
    """Count the functions of an environment.

    [bold]Example[/bold]
      tcb-async count test-777bb9

    The exit codes are in tcb-async --help.
    """
    service = access.service()

    async def work(client: TcbClient) -> None:
        screen.write(b"%d\n" % await client.count_functions(service.env))

    service.run(work)


_ENVIRONMENT_COLUMNS = ("env", "alias", "status", "package_name", "create_time", "update_time")


@command(lacks=("env", *MANY))
def environments_command(screen: Screen, *, form: str = TABLE, access: Access) -> None:
    r"""List the environments of an account.

    [bold]Examples[/bold]
      tcb-async environments
      tcb-async environments -f json | jq -r '.\[].env'

    The exit codes are in tcb-async --help.
    """

    async def work(client: TcbClient) -> None:
        write_rows(screen, await client.list_environments(), _ENVIRONMENT_COLUMNS, form)

    access.service(needs_env=False).run(work)


_MERCHANT_COLUMNS = ("authorizer_appid", "auth_time")


@command(lacks=("env", "token_file", "appid", "redis", "secret_file", "accounts"))
def merchants_command(screen: Screen, *, form: str = TABLE, access: Access) -> None:
    """List the merchants of a third-party platform (第三方平台).

    [bold]Examples[/bold]
      export TCB_COMPONENT_APPID=… TCB_COMPONENT_SECRET=…
      export TCB_COMPONENT_TICKET=…
      tcb-async merchants
      tcb-async merchants -f csv > merchants.csv

    Refresh tokens are not printed. TcbClient has them:
    iter_authorizers().

    The exit codes are in tcb-async --help.
    """
    if not access.component_appid and not access.demo:
        raise typer.BadParameter(
            "name the platform, or set TCB_COMPONENT_APPID; or pass --demo",
            param_hint="--component-appid",
        )
    opened_accounts = access.many()

    async def work() -> None:
        async with opened_accounts(None) as found:
            rows = await found.client.authorizers().collect()
            write_rows(screen, rows, _MERCHANT_COLUMNS, form)

    signals.run(work)


_NO_ENV = "token-check"


@command(env=argument("ENV", "Check that it may list this environment, too."))
def token_command(screen: Screen, access: Access) -> None:
    """Check the token: whose it is, how long it lives, whether WeChat accepts it.

    [bold]Examples[/bold]
      tcb-async token
      tcb-async token test-777bb9 --appid wx0123456789abcdef

    [bold]Exit codes[/bold]
        0  accepted
        3  refused, or there is none
        4  accepted, but not for this environment
        5  the service or the network failed
      130  interrupted (Ctrl-C)
      143  terminated (SIGTERM)
    """
    service = access.service(needs_env=False)
    screen.write(f"account   {service.owner}\n".encode())

    async def work(client: TcbClient) -> None:
        accepted = await _is_accepted(client, access.env)
        life = _life(getattr(service.provider, "expires_at", None))
        screen.write(f"lifetime  {life}\naccepted  {accepted}, by {service.address}\n".encode())

    service.run(work)


async def _is_accepted(client: TcbClient, env: str | None) -> str:
    """Ask for one row. Without an environment, a refusal of that alone means that it is a token."""
    try:
        await client.function_page(env or _NO_ENV, limit=1)
    except TcbError as error:
        if env is None and isinstance(error, ApiError) and is_token_accepted(error):
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
