"""The options of commands: how one is declared, and those that commands share.

Rule: an option is declared once, under the name of the parameter that it becomes, whichever
commands have it. No option holds a secret, but for the address of a Redis, which may hold a
password.
"""

import inspect
import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import attrs
import typer
from typer.main import get_command

from tcb_async._arguments import BASE_URL, DEFAULT_BASE_URL, DEFAULT_CONCURRENCY, checked_base_url
from tcb_async._redact import Secret
from tcb_async.cli.app import Command, at_terminal
from tcb_async.cli.formats import described, format_names

if TYPE_CHECKING:
    from tcb_async.cli.access import Open, Service

# No `from __future__ import annotations`: typer reads the types of `Access` when it runs.

_ACCOUNT = "Account and service"
_ANNOTATED: Any = Annotated
_VERBOSE = inspect.Parameter(
    "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool
)


def option(
    words: str,
    text: str,
    *,
    choices: Callable[[], Sequence[str]] | None = None,
    hint: str = "",
    **more: Any,  # noqa: ANN401 - typer's own arguments
) -> Any:  # noqa: ANN401 - typer does not export what it returns
    """Declare an option.

    Args:
        words: Its names, and then what stands for its value, if it has one: ``--columns FIELD,…``.
        text: Its help.
        choices: The values that there are, in any case; the shell completes them. None for any.
        hint: What the error adds if the value is none of these.
        more: Arguments of ``typer.Option``.
    """
    names = [word for word in words.split() if word.startswith("-")]
    if choices is not None:
        more |= {"parser": choice(choices, hint), "autocompletion": choices}
    metavar = words.rsplit(maxsplit=1)[-1] if len(names) < len(words.split()) else None
    return typer.Option(*names, metavar=metavar, help=text, **more)


def argument(metavar: str, text: str) -> Any:  # noqa: ANN401 - typer does not export what it returns
    return typer.Argument(metavar=metavar, help=text)


def in_panel(panel: str, /, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Show these options together in the help."""
    for one in options.values():
        one.rich_help_panel = panel
    return options


# A parser is also given the default, which is of the right type already.


def choice(choices: Callable[[], Sequence[str]], hint: str = "") -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices():
            raise typer.BadParameter(f"{text!r} is none of {', '.join(choices())}{hint}")
        return text.lower()

    return parse


def whole_number(*, least: int, most: float = math.inf) -> Callable[[str | int], int]:
    def parse(value: str | int) -> int:
        text = str(value)
        number = int(text) if text.isascii() and text.isdecimal() else -1
        if not least <= number <= most:
            bounds = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise typer.BadParameter(f"{text!r} is not a whole number, {bounds}")
        return number

    return parse


def seconds(*, least: float) -> Callable[[str | float], float]:
    def parse(value: str | float) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number < math.inf:
            raise typer.BadParameter(f"{value!r} is not a number of seconds, {least:g} or more")
        return number

    return parse


_SHARED: dict[str, Any] = {
    "env": argument("ENV", "The environment, such as test-777bb9."),
    "demo": option("--demo", "Try it without an account, against an emulator in this process."),
    "form": option("--format -f FORMAT", f"{described()}.", choices=format_names),
    "verbose": option("--verbose -v", "Show the log on stderr."),
    **in_panel(
        _ACCOUNT,
        token_file=option(
            "--token-file FILE",
            "Read the access token from a file; - is stdin. "
            r"\[env var for the token: TCB_ACCESS_TOKEN]",
        ),
        appid=option(
            "--appid APPID",
            "Fetch the token for this app, with the appsecret in TCB_SECRET or from a prompt. "
            r"\[env var: TCB_APPID]",
        ),
        redis=option(
            "--redis URL",
            "Share the app's token with other processes. If the URL holds a password, use the "
            "variable.",
            parser=Secret,
            envvar="TCB_REDIS_URL",
        ),
        base_url=option("--base-url URL", "The address of WeChat's API.", envvar=BASE_URL),
        allow_http=option(
            "--allow-http",
            "Allow plain http to any host. Everyone on the way can then read the token.",
        ),
        trust_env=option(
            "--trust-env", "Use the proxy in HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and .netrc."
        ),
    ),
    **in_panel(
        "Which accounts",
        component_appid=option(
            "--component-appid APPID",
            "Every merchant of this third-party platform. Its appsecret is read from "
            "TCB_COMPONENT_SECRET or a prompt.",
            envvar="TCB_COMPONENT_APPID",
        ),
        ticket_file=option(
            "--ticket-file FILE",
            "The newest component_verify_ticket, read whenever it is needed. "
            r"\[env var for the ticket: TCB_COMPONENT_TICKET]",
        ),
        secret_file=option(
            "--secret-file FILE", "Read the platform's appsecret from a file instead."
        ),
        accounts=option(
            "--accounts FILE", "The accounts in this file, one JSON object per line. - is stdin."
        ),
    ),
    **in_panel(
        "Which functions",
        name=option(
            "--name PATTERN", "Only these names, such as 'get*'; the case counts. May be repeated."
        ),
    ),
    **in_panel(
        "Requests",
        page_size=option(
            "--page-size N",
            "Functions per request. Default: as many as the server gives.",
            parser=whole_number(least=1),
        ),
        concurrency=option(
            "--concurrency N",
            f"The most requests at once. Default: {DEFAULT_CONCURRENCY}.",
            parser=whole_number(least=1),
        ),
    ),
    **in_panel("Output", quiet=option("--quiet -q", "Do not say what it cost.")),
}


def given(**options: object) -> dict[str, Any]:
    """Keep what was given: the rest has its default in the library."""
    return {name: value for name, value in options.items() if value is not None}


@attrs.frozen(kw_only=True)
class Access:
    """The options that name a service, and an account or many, as they were given."""

    env: str | None = None
    demo: bool = False
    component_appid: str | None = None
    ticket_file: str | None = None
    secret_file: str | None = None
    accounts: str | None = None
    token_file: str | None = None
    appid: str | None = None
    redis: Secret | None = None
    base_url: str = DEFAULT_BASE_URL
    allow_http: bool = False
    trust_env: bool = False

    def service(
        self, *, needs_env: bool = True, is_changing: bool = False, others: Sequence[str] = ()
    ) -> "Service":
        if needs_env and self.env is None and not self.demo:
            raise typer.BadParameter("name an environment, or pass --demo", param_hint="ENV")
        if self.token_file is not None and self.appid is not None:
            raise typer.BadParameter("name a token or an app, not both", param_hint="--token-file")
        # The client and the emulator: help, completion and usage errors do not wait for them.
        from tcb_async.cli import access  # noqa: PLC0415

        if self.demo:
            return access.demonstration(self.env, is_changing=is_changing, others=others)
        return access.wechat(self)

    def many(self) -> "Open":
        """Find many accounts: read and check all that can be without a request."""
        from tcb_async.cli import access  # noqa: PLC0415 - as above

        return access.demo_merchants if self.demo else access.many_accounts(self)

    def checked_url(self) -> str:
        given_by = BASE_URL if self.base_url == os.environ.get(BASE_URL) else "--base-url"
        return checked_base_url(self.base_url, allow_http=self.allow_http, name=given_by)


MANY = ("component_appid", "ticket_file", "secret_file", "accounts")
"""The options of `Access` that name many accounts."""


def command(
    *,
    ending: str = "",
    lacks: Collection[str] = MANY,
    level: int = logging.ERROR,
    **own: Any,  # noqa: ANN401 - as above
) -> Callable[[Callable[..., Any]], Any]:
    """Make a command of a function, or of a class whose ``run`` it calls.

    Its parameters are its options, but for ``screen``. One whose type is a class of options, such
    as `Access`, is made of all of them. Its docstring is its help, and the end of that.

    Args:
        ending: What the help ends with, after that.
        lacks: Which options of those classes the command has not.
        level: From which level on the log is shown without ``--verbose``, too.
        own: Options that no other command has, or that mean something else here.
    """

    def declare(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - as above
        known, groups, parameters = _SHARED | own, dict[str, Any](), list[inspect.Parameter]()
        for it in _parameters(function):
            if attrs.has(it.annotation):
                groups[it.name] = it.annotation
                parameters += [one for one in _parameters(it.annotation) if one.name not in lacks]
            else:
                parameters.append(it)
        parameters = [
            it.replace(annotation=_ANNOTATED[it.annotation, known[it.name]])
            for it in [*parameters, _VERBOSE]
        ]
        parameters.sort(key=lambda it: known[it.name].rich_help_panel == _ACCOUNT)

        def run(*, verbose: bool, **values: Any) -> None:  # noqa: ANN401 - of every type
            with at_terminal(verbose=verbose, level=level) as screen:
                for name, kind in groups.items():
                    names = values.keys() & {it.name for it in _parameters(kind)}
                    values[name] = kind(**{it: values.pop(it) for it in names})
                made = function(screen=screen, **values)
                if made is not None:
                    made.run()

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {it.name: it.annotation for it in parameters}
        one = typer.Typer(add_completion=False, rich_markup_mode="rich")
        line, _, examples = str(inspect.getdoc(function)).partition("\n\n")
        one.command(cls=Command, help=line, epilog=examples + ending)(run)
        return get_command(one)

    return declare


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    types = get_type_hints(function)
    return [
        it.replace(annotation=types[it.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for it in inspect.signature(function).parameters.values()
        if it.name != "screen"
    ]
