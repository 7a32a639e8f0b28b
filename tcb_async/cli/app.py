"""The command ``tcb-async``: its commands, and help that teaches by example.

Rule: no command is written here, only named.
"""

from typing import Annotated

import typer

from tcb_async._version import __version__
from tcb_async.cli import emulator, inventory, listing, platform, watch
from tcb_async.cli.errors import EXIT_CODES, Command, CommandGroup

# No `from __future__ import annotations`: typer reads what stands here when the program runs.


_EPILOG = f"""\
[bold]Examples[/bold]
  tcb-async list --demo
  export TCB_APPID=… TCB_SECRET=…  or TCB_ACCESS_TOKEN=…
  tcb-async list test-777bb9
  tcb-async list test-777bb9 -o all.csv
  tcb-async wait test-777bb9 login && echo deployed

{EXIT_CODES}"""

app = typer.Typer(
    name="tcb-async",
    cls=CommandGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command, _epilog in (
    ("list", listing.list_functions, listing.LIST_EPILOG),
    ("count", listing.count, listing.COUNT_EPILOG),
    ("watch", watch.watch, watch.WATCH_EPILOG),
    ("wait", watch.wait, watch.WAIT_EPILOG),
    ("environments", platform.environments, platform.ENVIRONMENTS_EPILOG),
    ("merchants", platform.merchants, platform.MERCHANTS_EPILOG),
    ("inventory", inventory.inventory, inventory.INVENTORY_EPILOG),
    ("token", platform.token, platform.ACCESS_EPILOG),
    ("emulator", emulator.emulator, emulator.EMULATOR_EPILOG),
):
    app.command(_name, cls=Command, epilog=_epilog)(_command)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"tcb-async {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
]


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def tcb_async(context: typer.Context, *, version: Version = False) -> None:  # noqa: ARG001
    """List the cloud functions of WeChat Cloud Base (TCB), completely and fast."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit(2)
