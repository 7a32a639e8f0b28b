"""The panel of general options, and usage errors, each as one sentence with advice.

Rule: a sentence repeats a word that the user typed only where it cannot be a secret: the name of an
option or a command, or the value of an option that takes no secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import get_args

import cyclopts

GENERAL = cyclopts.Group("Options", sort_key=1)

_SET_TOKEN = "others could read it in the list of processes: set TCB_ACCESS_TOKEN"
_SET_SECRET = "others could read it in the list of processes: set TCB_SECRET"
_SUGGESTIONS = {
    "--limit": "pass --max-items N",
    "--json": "pass --format json",
    "--csv": "pass --format csv",
    "--env": "name the environment without an option, as in `tcb-async list test-777bb9`",
    "--all": "every function is read anyway, so leave it out",
    "--format": "the output has only one format, so leave it out",
    "--run": "`changes` and `diff` read the latest finished run, so leave it out",
    "--filter": "pass --name, --status or --runtime",
    "--token": _SET_TOKEN,
    "--access-token": _SET_TOKEN,
    "--secret": _SET_SECRET,
    "--appsecret": _SET_SECRET,
}
"""Options of other programs that users try."""
_OUTPUT = ("--output", "-o")
_GENERAL_OPTIONS = ("--help", "--version", "--install-completion")


_INSTEAD_OF_COMMANDS = {
    "help": "`tcb-async --help`, or `tcb-async COMMAND --help`",
    "version": "`tcb-async --version`",
    "-v": "`tcb-async COMMAND -v` to see its requests, or `tcb-async --version`",
    "-V": "`tcb-async --version`",
}
"""Words of other programs that users type in place of a command."""


# Tokens and appsecrets are longer than the names of functions and environments usually are.
_SHORT_NAME = re.compile(r"[\w.*-]{1,24}")


def explain(error: cyclopts.CycloptsError, commands: Sequence[str]) -> str:
    """Name the problem, and the words to type instead."""
    match error:
        case cyclopts.UnknownCommandError():
            message = _explain_command(error.unused_tokens or [], commands)
        case cyclopts.UnknownOptionError():
            names = (name for argument in error.argument_collection for name in argument.names)
            command = " ".join(("tcb-async", *(error.command_chain or ())))
            message = _explain_option(error.token.keyword or error.token.value, [*names], command)
        case cyclopts.UnusedCliTokensError():
            message = _explain_extra((error.unused_tokens or [""])[0])
        case cyclopts.MissingArgumentError(argument=cyclopts.Argument() as argument):
            message = _explain_missing(error, argument)
        case cyclopts.RepeatArgumentError():
            message = f"{error.token.keyword} is given twice: pass it once"
        case cyclopts.CoercionError(argument=cyclopts.Argument() as argument):
            message = f"{_name(argument)}: {error.msg or _explain_value(error)}"
        case cyclopts.ValidationError(argument=cyclopts.Argument() as argument):
            value = argument.tokens[-1].value
            reason = error.exception_message.rstrip(".")
            message = f"{_name(argument)}: {value!r} {reason[:1].lower()}{reason[1:]}"
        case cyclopts.ValidationError():  # of a group of options
            message = error.exception_message
        case _:
            message = str(error.msg or "these options cannot be combined")
    return message


def _explain_command(words: Sequence[str], commands: Sequence[str]) -> str:
    """Suggest a command: the command that follows, or a command with a similar name."""
    unknown = words[0].partition("=")[0]
    kind, option = ("option", f" {unknown}") if unknown.startswith("-") else ("command", "")
    found = [word for word in words if word in commands]
    if found and unknown == "help":
        return f"there is no {kind} {unknown!r}: write `tcb-async {found[0]} --help`"
    if found:
        command = f"tcb-async {found[0]}{option}"
        return f"there is no {kind} {unknown!r} before the command: write `{command}`"
    if unknown in _INSTEAD_OF_COMMANDS:
        return f"there is no {kind} {unknown!r}: write {_INSTEAD_OF_COMMANDS[unknown]}"
    names = _GENERAL_OPTIONS if option else commands
    if similar := get_close_matches(unknown.lower(), names, n=1, cutoff=0.7):
        return f"there is no {kind} {unknown!r}: did you mean {similar[0]!r}?"
    if option:
        return f"there is no {kind} {unknown!r}"
    return f"there is no {kind} {unknown!r}: choose from {', '.join(commands)}"


def _explain_extra(word: str) -> str:
    name = f" {word!r}" if _SHORT_NAME.fullmatch(word) else ""
    return f"there is an extra argument{name}: leave it out"


def _explain_option(typed: str, names: Sequence[str], command: str) -> str:
    # The rest, as in --token=VALUE or -tVALUE, may be a secret.
    option = typed.partition("=")[0] if typed.startswith("--") else typed[:2]
    similar = get_close_matches(option, names, n=1, cutoff=0.7)
    if option in _OUTPUT:
        format_option = " -f csv" if "--format" in names else ""
        advice = f"redirect the output, as in `{command}{format_option} > FILE`"
    else:
        advice = _SUGGESTIONS.get(option) or (f"did you mean {similar[0]}?" if similar else "")
    return f"there is no option {option}{': ' if advice else ''}{advice}"


def _explain_missing(error: cyclopts.MissingArgumentError, argument: cyclopts.Argument) -> str:
    if (option := error.keyword) is not None:
        return f"{option} needs a value: {option} {argument.parameter.metavar}"
    arguments = error.app.assemble_argument_collection() if error.app else ()
    needed = [_name(each) for each in arguments if each.required]
    command = " ".join(("tcb-async", *(error.command_chain or ()), *needed))
    return f"the argument {_name(argument)} is missing: write `{command}`"


def _explain_value(error: cyclopts.CoercionError) -> str:
    text = error.token.value if error.token else ""
    if error.target_type is bool:
        return f"leave out {text!r}: the option takes no value"
    return f"{text!r} is not one of {', '.join(get_args(error.target_type))}"


def _name(argument: cyclopts.Argument) -> str:
    """Name an option as in the help, and an argument in capitals."""
    return argument.name if argument.name.startswith("-") else argument.name.upper()
