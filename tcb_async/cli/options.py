"""The options that commands share.

Rule: no option holds a secret, but for the address of a Redis, which may hold a password.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from tcb_async._arguments import (
    BASE_URL,
    DEFAULT_BASE_URL,
    DEFAULT_CONCURRENCY,
    checked_base_url,
)
from tcb_async._redact import Secret
from tcb_async.cli.formats import described, format_names

if TYPE_CHECKING:
    from tcb_async.cli.access import Service

# No `from __future__ import annotations`: typer reads what stands here when the program runs.

_ACCESS, _OUTPUT, _REQUESTS = "Account and service", "Output", "Requests"


# A parser is also given the default, which is of the right type already.


def choice(choices: Callable[[], Sequence[str]], hint: str = "") -> Callable[[str], str]:
    """Make a parser that takes one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices():
            raise typer.BadParameter(f"{text!r} is none of {', '.join(choices())}{hint}")
        return text.lower()

    return parse


def whole_number(*, least: int, most: float = math.inf) -> Callable[[str | int], int]:
    """Make a parser of whole numbers within bounds."""

    def parse(value: str | int) -> int:
        text = str(value)
        number = int(text) if text.isascii() and text.isdecimal() else -1
        if not least <= number <= most:
            bounds = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise typer.BadParameter(f"{text!r} is not a whole number, {bounds}")
        return number

    return parse


def seconds(*, least: float) -> Callable[[str | float], float]:
    """Make a parser of seconds."""

    def parse(value: str | float) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number < math.inf:
            raise typer.BadParameter(f"{value!r} is not a number of seconds, {least:g} or more")
        return number

    return parse


OptionalEnv = Annotated[
    str | None, typer.Argument(metavar="ENV", help="The environment, such as test-777bb9.")
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Read the access token from a file; - is stdin. "
        r"\[env var for the token: TCB_ACCESS_TOKEN]",
        rich_help_panel=_ACCESS,
    ),
]
AppId = Annotated[
    str | None,
    typer.Option(
        "--appid",
        metavar="APPID",
        help="Fetch the token for this app, with the appsecret in TCB_SECRET or from a prompt. "
        r"\[env var: TCB_APPID]",
        rich_help_panel=_ACCESS,
    ),
]
RedisUrl = Annotated[
    Secret | None,
    typer.Option(
        "--redis",
        metavar="URL",
        parser=Secret,
        envvar="TCB_REDIS_URL",
        help="Share the app's token with other processes. If the URL holds a password, use the "
        "variable.",
        rich_help_panel=_ACCESS,
    ),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar=BASE_URL,
        help="The address of WeChat's API.",
        rich_help_panel=_ACCESS,
    ),
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http",
        help="Allow plain http to any host. Everyone on the way can then read the token.",
        rich_help_panel=_ACCESS,
    ),
]
TrustEnv = Annotated[
    bool,
    typer.Option(
        "--trust-env",
        help="Use the proxy in HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and .netrc.",
        rich_help_panel=_ACCESS,
    ),
]
Demo = Annotated[
    bool,
    typer.Option("--demo", help="Try it without an account, against an emulator in this process."),
]
ComponentAppId = Annotated[
    str | None,
    typer.Option(
        "--component-appid",
        metavar="APPID",
        envvar="TCB_COMPONENT_APPID",
        help="Every merchant of this third-party platform. Its appsecret is read from "
        "TCB_COMPONENT_SECRET or a prompt.",
        rich_help_panel="Which accounts",
    ),
]
TicketFile = Annotated[
    str | None,
    typer.Option(
        "--ticket-file",
        metavar="FILE",
        help="The newest component_verify_ticket, read whenever it is needed. "
        r"\[env var for the ticket: TCB_COMPONENT_TICKET]",
        rich_help_panel="Which accounts",
    ),
]
PageSize = Annotated[
    int | None,
    typer.Option(
        "--page-size",
        metavar="N",
        parser=whole_number(least=1),
        help="Functions per request. Default: as many as the server gives.",
        rich_help_panel=_REQUESTS,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        metavar="N",
        parser=whole_number(least=1),
        help=f"The most requests at once. Default: {DEFAULT_CONCURRENCY}.",
        rich_help_panel=_REQUESTS,
    ),
]
RowFormat = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        parser=choice(format_names),
        autocompletion=format_names,
        help=f"{described()}.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Do not say what it cost.", rich_help_panel=_OUTPUT),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on stderr.")]


def given(**options: object) -> dict[str, Any]:
    """Keep what was given: the rest has its default in the library."""
    return {name: value for name, value in options.items() if value is not None}


def checked_service_url(base_url: str, *, allow_http: bool) -> str:
    """Return the address of the service; an error says where it was given."""
    given_by = BASE_URL if base_url == os.environ.get(BASE_URL) else "--base-url"
    return checked_base_url(base_url, allow_http=allow_http, name=given_by)


@attrs.frozen(kw_only=True)
class Access:
    """The options that name an account and a service, as they were given.

    Attributes:
        token_file: A file with an access token.
        appid: An app.
        redis: Where the app's token is shared.
        base_url: The service.
        allow_http: Whether the token may travel in the clear.
        trust_env: Whether to use the environment's proxy.
    """

    token_file: TokenFile = None
    appid: AppId = None
    redis: RedisUrl = None
    base_url: BaseUrl = DEFAULT_BASE_URL
    allow_http: AllowHttp = False
    trust_env: TrustEnv = False

    def service(
        self, env: str | None = "", *, demo: bool = False, is_changing: bool = False
    ) -> "Service":
        """Find the service, and the credentials for it.

        Args:
            env: The environment that is asked for; empty if none is needed.
            demo: Whether to ask the demonstration.
            is_changing: Whether its functions are deployed, updated and deleted meanwhile.

        Raises:
            typer.BadParameter: No environment is named, or the options contradict each other.
            ConfigurationError: There are no credentials, or no token may be sent there.
        """
        if env is None and not demo:
            raise typer.BadParameter("name an environment, or pass --demo", param_hint="ENV")
        if self.token_file is not None and self.appid is not None:
            raise typer.BadParameter("name a token or an app, not both", param_hint="--token-file")
        # The client and the emulator: help, completion and usage errors do not wait for them.
        from tcb_async.cli import access  # noqa: PLC0415

        if demo:
            return access.Demonstration(env, is_changing=is_changing)
        base_url = checked_service_url(self.base_url, allow_http=self.allow_http)
        credentials = access.find_credentials(self.token_file, self.appid, self.redis)
        return access.WeChat(credentials, base_url, self.allow_http, self.trust_env, env or "")


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Access`; it gets them together, as ``access``."""
    ours = inspect.signature(Access).parameters
    theirs = dict(inspect.signature(command, eval_str=True).parameters)
    del theirs["access"]

    @functools.wraps(command)
    def with_one_argument(**options: Any) -> None:  # noqa: ANN401 - of every type
        access = Access(**{name: options.pop(name) for name in ours})
        command(access=access, **options)

    verbose = theirs.pop("verbose")
    both = [*theirs.values(), *ours.values(), verbose]
    with_one_argument.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    with_one_argument.__annotations__ = {it.name: it.annotation for it in both}
    return with_one_argument
