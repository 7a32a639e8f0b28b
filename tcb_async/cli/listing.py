"""``tcb-async list`` and ``tcb-async count``: their options, and what is wrong with them.

Rule: options that contradict each other are refused before anything is asked.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from tcb_async.cli.errors import at_terminal
from tcb_async.cli.formats import Format
from tcb_async.cli.job import Listing
from tcb_async.cli.options import (
    BASE_URL,
    AllowHttp,
    AppId,
    BaseUrl,
    Demo,
    RedisUrl,
    TokenFile,
    Verbose,
    asking,
    find_service,
)
from tcb_async.cli.selection import SORTS, Selection
from tcb_async.emulator import DEMO_ENV

__all__ = ["count", "list_functions"]

_BY_SUFFIX = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.NDJSON,
    ".ndjson": Format.NDJSON,
    ".txt": Format.TABLE,
}
_STATUSES = (
    "Active", "Creating", "CreateFailed", "Updating", "UpdateFailed", "Publishing",
    "PublishFailed", "Deleting", "DeleteFailed",
)  # fmt: skip
_WHICH, _HOW, _WHERE = "Which functions", "How they are asked for", "Where they go"

OptionalEnv = Annotated[
    str | None,
    typer.Argument(metavar="ENV", help="The environment's id, such as test-777bb9."),
]
Formats = Annotated[
    Format | None,
    typer.Option(
        "--format",
        "-f",
        help="ndjson and csv are written page by page as they arrive; table and json at the end.",
        show_default="by the suffix of --output, else table",
        rich_help_panel=_WHERE,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        resolve_path=True,
        help="Write a file, which appears when it is complete.",
        rich_help_panel=_WHERE,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        dir_okay=False,
        resolve_path=True,
        help="Keep the cursor of --output in this file, so that the same command, after an "
        "interruption, goes on without loss or repeat. It is deleted at the end.",
        rich_help_panel=_WHERE,
    ),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="PATTERN",
        autocompletion=lambda: list(_STATUSES),
        help="Only this status, such as Active or '*Failed'. May be given more than once.",
        rich_help_panel=_WHICH,
    ),
]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        metavar="PATTERN",
        help="Only this runtime, such as Python3.10 or 'Nodejs*'. May be given more than once.",
        rich_help_panel=_WHICH,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--name",
        metavar="PATTERN",
        help="Only these names, such as 'get*'. May be given more than once.",
        rich_help_panel=_WHICH,
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="FIELD",
        autocompletion=lambda: SORTS,
        help="Sort by name, status, runtime, add_time or mod_time; -mod_time begins with the "
        "newest.",
        show_default="the server's order",
        rich_help_panel=_WHICH,
    ),
]
MaxItems = Annotated[
    int | None,
    typer.Option(
        "--max-items",
        "-n",
        metavar="N",
        min=1,
        help="At most so many functions, after filters and --sort.",
        rich_help_panel=_WHICH,
    ),
]
PageSize = Annotated[
    int,
    typer.Option(
        "--page-size", metavar="N", min=1, help="Functions per request.", rich_help_panel=_HOW
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency", metavar="N", min=1, help="Requests at once, at most.", rich_help_panel=_HOW
    ),
]


def list_functions(  # noqa: PLR0913 - each is an option
    env: OptionalEnv = None,
    *,
    status: Statuses = None,
    runtime: Runtimes = None,
    name: Names = None,
    sort: Sort = None,
    max_items: MaxItems = None,
    output_format: Formats = None,
    output: Output = None,
    resume: Resume = None,
    page_size: PageSize = 20,
    concurrency: Concurrency = 8,
    token_file: TokenFile = None,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = BASE_URL,
    allow_http: AllowHttp = False,
    demo: Demo = False,
    verbose: Verbose = False,
) -> None:
    """List the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        selection = Selection(
            status or (), runtime or (), name or (), _checked_sort(sort), max_items
        )
        listing = Listing(
            _checked_env(env, demo=demo),
            output_format or _format_of(output),
            selection,
            page_size,
            _checked_target(output),
            resume,
        )
        _check_resume(listing)
        access = (
            None
            if demo
            else find_service(token_file, appid, redis, base_url, allow_http=allow_http)
        )

        async def work() -> None:
            async with asking(access, concurrency=concurrency) as client:
                await listing.write(client, screen)

        asyncio.run(work())


def count(  # noqa: PLR0913 - each is an option
    env: OptionalEnv = None,
    *,
    token_file: TokenFile = None,
    appid: AppId = None,
    redis: RedisUrl = None,
    base_url: BaseUrl = BASE_URL,
    allow_http: AllowHttp = False,
    demo: Demo = False,
    verbose: Verbose = False,
) -> None:
    """Count the functions of an environment."""
    with at_terminal(verbose=verbose) as screen:
        asked = _checked_env(env, demo=demo)
        access = (
            None
            if demo
            else find_service(token_file, appid, redis, base_url, allow_http=allow_http)
        )

        async def work() -> None:
            async with asking(access) as client:
                screen.write(b"%d\n" % await client.count_functions(asked))

        asyncio.run(work())


def _checked_env(env: str | None, *, demo: bool) -> str:
    if demo:
        return env or DEMO_ENV
    if env is None:
        raise typer.BadParameter("name an environment, or say --demo", param_hint="ENV")
    return env


def _checked_sort(sort: str | None) -> str | None:
    if sort is not None and sort not in SORTS:
        raise typer.BadParameter(f"{sort!r} is none of {', '.join(SORTS)}", param_hint="--sort")
    return sort


def _format_of(output: Path | None) -> Format:
    if output is None:
        return Format.TABLE
    found = _BY_SUFFIX.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(
            f"say it, for the suffix {output.suffix!r} is none of {', '.join(_BY_SUFFIX)}",
            param_hint="--format",
        )
    return found


def _checked_target(output: Path | None) -> Path | None:
    if output is None:
        return None
    wrong = ""
    if output.exists() and not output.is_file():
        wrong = "is not a regular file; redirect stdout instead"
    elif not output.parent.is_dir():
        wrong = f"cannot be made: there is no folder {output.parent}"
    elif not os.access(output.parent, os.W_OK):
        wrong = f"cannot be made: the folder {output.parent} may not be written to"
    if wrong:
        raise typer.BadParameter(f"{output} {wrong}", param_hint="--output")
    return output


def _check_resume(listing: Listing) -> None:
    if listing.resume is None:
        return
    wrong = ""
    if listing.output is None:
        wrong = "needs --output, for only a file can be cut back to where its cursor stands"
    elif listing.resume == listing.output:
        wrong = "must be another file than --output: it holds the cursor"
    elif listing.format is Format.TABLE:
        wrong = "goes with --format json, ndjson or csv: a table is written at the end"
    elif listing.selection.sort:
        wrong = "goes without --sort: what is sorted is written at the end"
    if wrong:
        raise typer.BadParameter(wrong, param_hint="--resume")
