"""Options that several commands share.

Rule: an option is declared once, with its help text beside it; --appid has a second meaning for an
inventory. No option takes a secret.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import ArgumentCollection, Group, Parameter, Token, convert
from cyclopts.validators import Number

from tcb_async._defaults import (
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    DEFAULT_CONCURRENCY,
    DEFAULT_TIMEOUT,
)
from tcb_async.cli.formats import Format

_SOURCES = {"--accounts", "--component-appid", "--appid"}


def _check_sources(arguments: ArgumentCollection) -> None:
    """Refuse two options that name accounts; an option takes precedence over a variable."""
    typed = (each for each in arguments if any(token.source == "cli" for token in each.tokens))
    named = sorted({each.name for each in typed} & _SOURCES)
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)}: name one source of accounts")


GENERAL = Group("Options", sort_key=1)
ACCOUNTS = Group("Which accounts", sort_key=2, validator=_check_sources)
WHICH_FUNCTIONS = Group("Which functions", sort_key=3)
OUTPUT = Group("Output", sort_key=4)
REQUESTS = Group("Requests", sort_key=5)
SERVICE = Group("Account and service", sort_key=6)


def split_commas(kind: object, tokens: Sequence[Token]) -> object:
    """Convert choices, several of which may be in one word, separated by commas."""
    words = [
        attrs.evolve(token, value=word.strip())
        for token in tokens
        for word in token.value.split(",")
    ]
    return convert(kind, words)  # pyright: ignore[reportUnknownVariableType] - half typed


NUMBER = Parameter(metavar="N", validator=Number(gte=1))
Env = Annotated[
    str | None, Parameter(env_var="TCB_ENV", help="The environment, such as test-777bb9.")
]
INPUT = Parameter(allow_repeating=False)
"""For an option that names an input: the last of several values would hide the others."""
AppId = Annotated[str | None, INPUT, Parameter(metavar="APPID", group=SERVICE)]
File = Annotated[Path | None, Parameter(metavar="FILE")]
FileOrStream = Annotated[File, Parameter(allow_leading_hyphen=True)]  # - is stdin or stdout
Output = Annotated[
    FileOrStream,
    Parameter(
        ("--output", "-o"),
        group=OUTPUT,
        help="Write a file, which appears when it is complete. - is stdout.",
    ),
]
Seconds = Annotated[float, Parameter(metavar="SECONDS", validator=Number(gte=0.1, lt=math.inf))]
Patterns = Annotated[list[str] | None, Parameter(metavar="PATTERN")]
NamePatterns = Annotated[
    Patterns,
    Parameter(
        group=WHICH_FUNCTIONS,
        help="Only these names, such as 'get*'; the case counts. May be repeated.",
    ),
]
FORMAT = Parameter(("--format", "-f"), metavar="FORMAT", show_choices=True)
OutputFormat = Annotated[Format, FORMAT]
Quiet = Annotated[
    bool,
    Parameter(("--quiet", "-q"), group=OUTPUT, help="Print only errors and warnings to stderr."),
]
Verbose = Annotated[
    bool, Parameter(("--verbose", "-v"), group=GENERAL, help="Show the log on stderr.")
]


@Parameter(name="*", group=REQUESTS)
@attrs.frozen(kw_only=True)
class Requests:
    """The requests of a listing."""

    page_size: Annotated[int | None, Parameter(metavar="N", validator=Number(gte=2))] = None
    """Functions per request, 2 or more: pages overlap. Default: as many as the server gives."""
    concurrency: Annotated[int, NUMBER] = DEFAULT_CONCURRENCY
    """Calls at a time, including those that wait to retry."""


@Parameter(name="*", group=SERVICE)
@attrs.frozen(kw_only=True)
class Connection:
    """The address of the service, and how it is reached."""

    demo: Annotated[bool, Parameter(group=GENERAL)] = False
    """Try it without an account, against an emulator in this process."""
    verbose: Verbose = False
    base_url: Annotated[str, Parameter(metavar="URL", env_var=BASE_URL_VARIABLE)] = DEFAULT_BASE_URL
    """The address of WeChat's API."""
    allow_http: bool = False
    """Allow plain http to any host. Everyone on the network can then read the token."""
    trust_env: bool = False
    """Use the proxy in HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and .netrc."""
    request_timeout: Seconds = DEFAULT_TIMEOUT
    """Maximum number of seconds for one attempt of a request."""


@Parameter(name="*", group=SERVICE)
@attrs.frozen(kw_only=True)
class Access(Connection):
    """The service, and the credentials of one account."""

    token_file: Annotated[FileOrStream, INPUT] = None
    r"""Read the access token from a file; - is stdin. \[env var for the token: TCB_ACCESS_TOKEN]"""
    appid: AppId = None
    r"""Fetch this app's token with the appsecret in TCB_SECRET or typed. \[env var: TCB_APPID]"""


PLATFORM_PRICE = """\
[bold]The price of a platform[/bold]
  Its new token makes an earlier one invalid five minutes
  later. TCB_REDIS_URL shares the tokens with its service;
  --accounts, of an inventory, requests none."""


@Parameter(name="*", group=SERVICE)
@attrs.frozen(kw_only=True)
class Platform(Connection):
    """The service, and the credentials of a third-party platform (第三方平台)."""

    component_appid: Annotated[AppId, Parameter(env_var="TCB_COMPONENT_APPID", group=ACCOUNTS)] = (
        None
    )
    """Every merchant of this platform, with the appsecret in TCB_COMPONENT_SECRET or typed."""
    ticket_file: Annotated[File, INPUT, Parameter(group=ACCOUNTS)] = None
    r"""The latest ticket, read each time. \[env var for the ticket: TCB_COMPONENT_TICKET]"""


@Parameter(name="*", group=SERVICE)
@attrs.frozen(kw_only=True)
class ManyAccounts(Platform):
    """The service, and the accounts of an inventory: of a platform, in a file, or one app."""

    accounts: Annotated[FileOrStream, INPUT, Parameter(group=ACCOUNTS)] = None
    """The accounts in this file, one JSON object per line. - is stdin."""
    merchant: Annotated[list[str] | None, Parameter(metavar="APPID", group=ACCOUNTS)] = None
    """Only this merchant of the platform. May be repeated."""
    appid: Annotated[AppId, Parameter(group=ACCOUNTS)] = None
    r"""Your own app, with the appsecret in TCB_SECRET or typed. \[env var: TCB_APPID]"""

    @property
    def source(self) -> Literal["platform", "accounts", "app"]:
        """What names the accounts; an option takes precedence over a variable."""
        if self.demo:
            return "platform"
        if self.accounts is not None:
            return "accounts"
        return "app" if self.appid is not None or self.component_appid is None else "platform"
