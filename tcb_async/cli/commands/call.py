"""``tcb-async call``: any POST endpoint that takes JSON, and its reply.

Rule: the whole reply is printed, with any token in it. Errors show no secret.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import App, CycloptsError, Parameter

from tcb_async._redact import escape_unprintable
from tcb_async.cli.credentials import prepare_service
from tcb_async.cli.exits import run_command
from tcb_async.cli.files import read_input
from tcb_async.cli.options import Access

if TYPE_CHECKING:
    from tcb_async.client import TcbClient

call_command: App = App(
    name="call",
    usage="tcb-async call [OPTIONS] PATH [JSON]",
    help_epilogue=r"""[bold]Examples[/bold]
  tcb-async call /tcb/getenvinfo
  tcb-async call /tcb/invokecloudfunction '{"a": 1}' \
    --query env=test-777bb9 --query name=login
  tcb-async call /tcb/listfunctions \
    '{"env": "test-777bb9", "limit": 2, "offset": 0}'
  tcb-async call /tcb/getenvinfo - < request.json""",
)
_EXAMPLE = """a JSON object in quotes, such as '{"env": "test-777bb9"}', or - for stdin"""


@call_command.default
def call_any_endpoint(
    path: str,
    body: Annotated[str | None, Parameter(name="JSON", allow_leading_hyphen=True)] = None,
    /,
    *,
    query: Annotated[list[str] | None, Parameter(metavar="NAME=VALUE")] = None,
    repeatable: bool = False,
    access: Access = Access(),
) -> None:
    """Call any POST endpoint of WeChat that takes JSON, and print the raw reply.

    Args:
        path: The endpoint, such as /tcb/getenvinfo, without host and query. The token is added.
        body: The fields of the request, as a JSON object. - is stdin. Default: {}.
        query: An argument in the query; any number of times.
        repeatable: Send it again although WeChat may have carried it out: for calls that only read.
    """
    with run_command(verbose=access.verbose) as screen:
        if "://" in path or "?" in path:
            raise CycloptsError(
                "PATH: write only the path, such as /tcb/getenvinfo, and pass the query as --query "
                "NAME=VALUE"
            )
        arguments = _read_query(query or ())
        fields = _read_fields(body, access)

        async def work(client: TcbClient) -> None:
            reply = await client.call(path, fields, query=arguments, repeatable=repeatable)
            if screen.out.is_terminal:
                lines = json.dumps(reply, ensure_ascii=False, indent=2).split("\n")
                text = "\n".join(map(escape_unprintable, lines))
            else:
                text = json.dumps(reply, ensure_ascii=False)
            screen.write(f"{text}\n".encode())

        prepare_service(access).run(work)


def _read_query(arguments: Sequence[str]) -> dict[str, str]:
    query: dict[str, str] = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not (name and separator):
            raise CycloptsError("--query: must be NAME=VALUE, such as env=test-777bb9")
        if name in query:
            raise CycloptsError(f"--query: {name} is given twice")
        query[name] = value
    return query


def _read_fields(body: str | None, access: Access) -> dict[str, Any]:
    if body == str(access.token_file) == "-":
        raise CycloptsError("JSON, --token-file: only one of them can read stdin")
    if body is None:
        return {}
    text = read_input("-") if body == "-" else body
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        return cast("dict[str, Any]", fields)
    raise CycloptsError(f"JSON: must be {_EXAMPLE}")
