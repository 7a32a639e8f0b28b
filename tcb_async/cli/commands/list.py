"""``tcb-async list``.

Rule: options that contradict each other are refused before anything is asked.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from pathlib import Path
from typing import Annotated

import typer

from tcb_async.cli import signals
from tcb_async.cli.errors import EXIT_CODES, at_terminal
from tcb_async.cli.formats import FIELDS, Format
from tcb_async.cli.listing import Listing
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
from tcb_async.cli.output import checked_file, output_path
from tcb_async.cli.resume import check_resume_path
from tcb_async.cli.selection import SORTS, Selection
from tcb_async.cli.service import Demonstration

__all__ = ["EPILOG", "list_functions"]

EPILOG = f"""\
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
