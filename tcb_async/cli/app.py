"""The command ``tcb-async``: its commands, and help that teaches by example.

Rule: no command is written here, only named.
"""

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

from typing import Annotated

import typer

from tcb_async._version import __version__
from tcb_async.cli.errors import EXIT_CODES
from tcb_async.cli.listing import count, list_functions
from tcb_async.cli.serving import emulator
from tcb_async.cli.token import token
from tcb_async.cli.watching import wait, watch

__all__ = ["app"]

_EXAMPLES = """\
[bold]Examples[/bold]
  tcb-async list --demo                              a first look; needs nothing
  export TCB_ACCESS_TOKEN=…                          or --token-file FILE, or --appid APPID
  tcb-async list test-777bb9                         a table
  tcb-async list test-777bb9 -f json | jq -r '.\\[].name'
  tcb-async wait test-777bb9 login && echo deployed"""

_LIST_EXAMPLES = """\
[bold]Examples[/bold]
  tcb-async list test-777bb9 --status '*Failed'      what needs a look
  tcb-async list test-777bb9 --sort -mod_time -n 5   what changed last
  tcb-async list test-777bb9 --name 'get*' -f ndjson | head -1
  tcb-async list test-777bb9 -o all.csv --resume all.cursor
  TCB_SECRET=… tcb-async list test-777bb9 --appid wx0123456789abcdef"""

_COUNT_EXAMPLES = """\
[bold]Example[/bold]
  tcb-async count test-777bb9

The exit codes are in tcb-async --help."""

_WATCH_EXAMPLES = """\
[bold]Examples[/bold]
  tcb-async watch test-777bb9 --interval 5
  tcb-async watch test-777bb9 >> changes.log         one line a change

The exit codes are in tcb-async --help."""

_WAIT_EXAMPLES = """\
[bold]Example[/bold]
  tcb-async wait test-777bb9 login --timeout 120 && echo deployed

[bold]Exit codes[/bold]
    0  it is Active
    4  it failed: CreateFailed, UpdateFailed, …
    5  it was not Active in time, or the service or the network failed
  130  interrupted (Ctrl-C)"""

_EMULATOR_EXAMPLES = """\
[bold]Examples[/bold]
  tcb-async emulator --demo
  tcb-async emulator --port 8089 --env test-777bb9 --count 300 --latency 0.05

On stdout are the two lines that set TCB_BASE_URL and TCB_ACCESS_TOKEN. Any client, in any \
language, may then POST {"env": …, "limit": …, "offset": …} to \
$TCB_BASE_URL/tcb/listfunctions?access_token=$TCB_ACCESS_TOKEN. Ctrl-C ends it, with exit code 0."""

_CHECK_EXAMPLES = """\
[bold]Examples[/bold]
  tcb-async token --check
  TCB_SECRET=… tcb-async token --check test-777bb9 --appid wx0123456789abcdef

[bold]Exit codes[/bold]
    0  accepted
    3  refused, or there is none
    4  accepted, but not for this environment
    5  the service or the network failed
  130  interrupted (Ctrl-C)"""

app = typer.Typer(
    name="tcb-async",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{_EXAMPLES}\n\n{EXIT_CODES}",
)
app.command("list", epilog=f"{_LIST_EXAMPLES}\n\n{EXIT_CODES}")(list_functions)
app.command("count", epilog=_COUNT_EXAMPLES)(count)
app.command("watch", epilog=_WATCH_EXAMPLES)(watch)
app.command("wait", epilog=_WAIT_EXAMPLES)(wait)
app.command("token", epilog=_CHECK_EXAMPLES)(token)
app.command("emulator", epilog=_EMULATOR_EXAMPLES)(emulator)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tcb-async {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
]


@app.callback()
def tcb_async(*, version: Version = False) -> None:
    """List the cloud functions of WeChat Cloud Base (TCB) environments, completely and fast."""
