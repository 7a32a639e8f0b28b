"""``tcb-async list`` and ``count``.

Rule: contradictory options are refused before any request, and a list is written when it is
complete.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from tcb_async.cli.credentials import choose_env, prepare_service
from tcb_async.cli.exits import EXIT_CODES, run_command
from tcb_async.cli.files import open_output, output_path
from tcb_async.cli.formats import (
    FIELDS,
    Field,
    Format,
    choose_format,
    format_rows,
    write_rows,
)
from tcb_async.cli.options import (
    FORMAT,
    OUTPUT,
    Access,
    Env,
    Output,
    Quiet,
    Requests,
    split_commas,
)
from tcb_async.cli.progress import list_with_bar
from tcb_async.cli.screen import Screen, plural
from tcb_async.cli.selection import Selection

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.models import CloudFunction
    from tcb_async.pagination import Pager

_OPTIONAL_COLUMNS = FIELDS[:0:-1]  # the last first, and never the name

list_command: App = App(
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
        Parameter(
            group=OUTPUT, metavar="FIELD,…", converter=split_commas, n_tokens=1, show_choices=True
        ),
    ] = None,
    output: Output = None,
    quiet: Quiet = False,
    requests: Requests = Requests(),
    access: Access = Access(),
) -> None:
    """List the functions of an environment.

    Args:
        output_format: ndjson is one object per line. Default: by the suffix of --output, or table.
        columns: Which columns, in which order. Default: all that fit the terminal.
    """
    with run_command(verbose=access.verbose, quiet=quiet) as screen:
        env = choose_env(env, access)
        path = output_path(output)
        chosen = choose_format(output_format, path)
        columns = columns and list(dict.fromkeys(columns))
        service = prepare_service(access, [env])

        # Filters and the order are applied here: with them, the first rows are not enough.
        needs_all = bool(selection.filters or selection.sort)
        max_items = None if needs_all else selection.max_items

        async def work(client: TcbClient) -> None:
            started = time.monotonic()
            walk, listed = await list_with_bar(
                client, env, screen, page_size=requests.page_size, max_items=max_items
            )
            seconds = time.monotonic() - started
            functions = selection.select(listed)
            _write(screen, functions, columns, chosen, path)
            if selection.filters and not functions:
                number = plural(len(listed), "function")
                screen.note(f"none of {number} in {env} match {selection.filters}")
            if screen.err.is_terminal or path is not None:
                screen.note(_summarize(walk, env, len(functions), seconds))

        service.run(work, requests.concurrency)


def _write(
    screen: Screen,
    functions: Sequence[CloudFunction],
    columns: Sequence[Field] | None,
    output_format: Format,
    path: Path | None,
) -> None:
    """Write to stdout, or to a file that appears when it is complete."""
    if path is None:
        optional = () if columns else _OPTIONAL_COLUMNS
        write_rows(screen, functions, columns or FIELDS, output_format, optional)
    else:
        with open_output(path) as file:
            file.write(format_rows(functions, columns or FIELDS, output_format, file.isatty()))


def _summarize(walk: Pager[CloudFunction], env: str, listed: int, seconds: float) -> str:
    stats = walk.stats
    total = walk.total or 0
    facts = [plural(stats.requests, "request")]
    if stats.retries:
        facts.append(plural(stats.retries, "retry", "retries"))
    if stats.drift:
        facts.append(plural(stats.passes, "pass", "passes") + ": the list changed")
    facts.append(f"{seconds:.1f} s")
    number = f"{listed:,} of " if listed != total else ""
    return f"{number}{plural(total, 'function')} in {env} ({', '.join(facts)})"


count_command: App = App(
    name="count",
    usage="tcb-async count [OPTIONS] [ENV]",
    help_epilogue="""\
[bold]Example[/bold]
  tcb-async count test-777bb9""",
)


@count_command.default
def count_functions(env: Env = None, /, *, access: Access = Access()) -> None:
    """Count the functions of an environment."""
    with run_command(verbose=access.verbose) as screen:
        env = choose_env(env, access)
        service = prepare_service(access, [env])

        async def work(client: TcbClient) -> None:
            page = await client.function_page(env, limit=1)
            screen.write(b"%d\n" % page.total)

        service.run(work)
