"""The command ``tcb-async``: its commands, its help, and how it runs.

Rule: this module names the commands and imports none: a command is imported when it runs, and the
client when a request is about to be made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import (
    App,
    CycloptsError,
    Group,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from tcb_async._version import __version__
from tcb_async.cli.exits import EXIT_CODES, ExitCode, handle_errors
from tcb_async.cli.options import GENERAL
from tcb_async.cli.screen import Screen, flush
from tcb_async.cli.signals import raise_at_sigterm

_EPILOGUE = f"""\
[bold]Examples[/bold]
  tcb-async list --demo
  export TCB_APPID=… TCB_SECRET=…  or TCB_ACCESS_TOKEN=…
  tcb-async list test-777bb9
  tcb-async list test-777bb9 -o all.csv
  tcb-async wait test-777bb9 login && echo deployed

{EXIT_CODES}"""

COMMANDS = {
    "list": ("listing", "List the functions of an environment."),
    "count": ("listing", "Count the functions of an environment."),
    "watch": ("watch", "Show added, updated and removed functions, until Ctrl-C."),
    "wait": ("watch", "Wait until functions are Active, as after a deployment."),
    "diff": ("diff", "Compare two lists of functions, such as a declaration and an environment."),
    "environments": ("account", "List the environments of an account."),
    "merchants": ("account", "List the merchants of a third-party platform (第三方平台)."),
    "inventory": ("inventory", "List every function of many accounts, into an SQLite file."),
    "changes": (
        "changes",
        "Show what changed between the last two nights; of one night, show its accounts.",
    ),
    "export": (
        "export",
        "Write the functions of a night, by account, environment and name.",
    ),
    "token": (
        "account",
        "Check the token: its owner, its lifetime, and whether WeChat accepts it.",
    ),
    "doctor": ("doctor", "Try the commands on this server, and show what its replies contain."),
    "call": ("call", "Call any POST endpoint of WeChat that takes JSON, and print the raw reply."),
    "explain": ("explain", "Explain an errcode, a TcbCode or a pasted error, offline."),
    "emulator": ("emulator", "Run a WeChat emulator, until Ctrl-C."),
}
"""The module of each command, and the first line of its help."""


def _show_default(value: object) -> str | None:
    """Return the text of a default, or None for a falsy one, which the help text explains."""
    if not value:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def _split_variable(_kind: object, value: str, **_: object) -> list[str]:
    """Do not split the variable; treat an empty one as unset."""
    return [value] if value else []


app: App = App(
    name="tcb-async",
    help="List the cloud functions of WeChat Cloud Base (TCB), completely and fast.",
    help_epilogue=_EPILOGUE,
    help_format="rich",
    usage="tcb-async COMMAND [OPTIONS] [ARGUMENTS]",
    version=f"tcb-async {__version__}",
    group_commands=Group("Commands", sort_key=2),
    group_parameters=GENERAL,
    default_parameter=Parameter(
        negative=(),  # a flag has no --no- form
        allow_repeating=True,  # the last value counts
        json_list=False,  # '[ab]*' is a pattern
        show_choices=False,
        show_default=_show_default,
        env_var_split=_split_variable,
    ),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,  # `run` prints it
    suppress_keyboard_interrupt=False,  # `handle_errors` handles it
)
app["--help"].group = app["--version"].group = GENERAL
for _number, (_name, (_module, _line)) in enumerate(COMMANDS.items()):
    _path = f"tcb_async.cli.commands.{_module}:{_name}_command"
    app.command(_path, name=_name, help=_line, sort_key=_number)
app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType] - half typed
    group=GENERAL, help="Install completion for the current shell.", help_epilogue=""
)


def _explain_usage(error: CycloptsError, words: Sequence[str]) -> str:
    """Return a sentence without the value of an unknown option, which may be a secret."""
    if isinstance(error, UnusedCliTokensError):
        return f"too many arguments: {len(error.unused_tokens or ())} more than the command takes"
    sentence = str(error)
    if isinstance(error, UnknownOptionError | UnknownCommandError):
        for word in words:
            if word.startswith("-"):
                option = word.partition("=")[0] if word.startswith("--") else word[:2]
                sentence = sentence.replace(word, option)
    return sentence


def run(words: Sequence[str]) -> NoReturn:
    """Run a command, or without words print the help; exit with the exit code."""
    screen = Screen.open()  # before help is written: stdout's encoding may lack its characters
    code = ExitCode.DONE
    try:
        with handle_errors(screen):
            raise_at_sigterm()
            if words and words[0] in {"help", "version"}:
                words = [*words[1:], f"--{words[0]}"]
            if words:
                app(words, console=screen.out)
            else:
                app.help_print((), console=screen.out)
                code = ExitCode.USAGE
    except CycloptsError as error:
        chain, _, _ = app.parse_commands(words)
        program = " ".join(("tcb-async", *chain))
        screen.say_error(f"tcb-async: {_explain_usage(error, words)} (see `{program} --help`)")
        code = ExitCode.USAGE
    finally:
        flush()
    sys.exit(code)
