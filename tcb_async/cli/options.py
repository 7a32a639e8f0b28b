"""The options that commands share.

Rule: no option holds a secret, but for the address of a Redis, which may hold a password.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import attrs
import typer

from tcb_async._arguments import DEFAULT_BASE_URL, checked_base_url
from tcb_async._redact import Secret
from tcb_async.cli.access import WeChat, find_credentials
from tcb_async.client import BASE_URL
from tcb_async.emulator import DEMO_ENV

# No `from __future__ import annotations`: typer reads what stands here when the program runs.


_ACCESS = "Account and service"


# A parser is also given the default, which is of the right type already.


def choice(choices: Sequence[str], hint: str = "") -> Callable[[str], str]:
    """Make a parser that takes one of these words, whatever its case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(choices)}{hint}")
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


Env = Annotated[str, typer.Argument(metavar="ENV", help="The environment, such as test-777bb9.")]
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
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on stderr.")]


def checked_env(env: str | None, *, demo: bool) -> str:
    """Return the environment that is asked for.

    Raises:
        typer.BadParameter: None is named, and it is not the demonstration.
    """
    if env is None and not demo:
        raise typer.BadParameter("name an environment, or pass --demo", param_hint="ENV")
    return DEMO_ENV if env is None else env


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

    def service(self) -> WeChat:
        """Find the service, and the credentials for it.

        Raises:
            typer.BadParameter: The options contradict each other.
            ConfigurationError: There are no credentials, or no token may be sent there.
        """
        if self.token_file is not None and self.appid is not None:
            raise typer.BadParameter("name a token or an app, not both", param_hint="--token-file")
        base_url = checked_service_url(self.base_url, allow_http=self.allow_http)
        credentials = find_credentials(self.token_file, self.appid, self.redis)
        return WeChat(credentials, base_url, self.allow_http, self.trust_env)


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
