"""``tcb-async call``: any endpoint of WeChat, and its raw reply.

Rule: the reply is printed as it was sent, with any token in it. Errors show no secret.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import App, CycloptsError, Parameter

from tcb_async.cli.credentials import choose_service
from tcb_async.cli.exits import run_command
from tcb_async.cli.files import read_input
from tcb_async.cli.options import Access
from tcb_async.cli.screen import sanitize
from tcb_async.compare import make_object

if TYPE_CHECKING:
    from tcb_async.client import TcbClient

call_command = App(
    name="call",
    usage="tcb-async call [OPTIONS] PATH [JSON]",
    help_epilogue=r"""[bold]Examples[/bold]
  tcb-async call /tcb/getenvinfo
  tcb-async call /tcb/listfunctions \
    '{"env": "test-777bb9", "limit": 2, "offset": 0}'
  tcb-async call /tcb/getenvinfo - < request.json""",
)
_EXAMPLE = """a JSON object in quotes, such as '{"env": "test-777bb9"}', or - for stdin"""


@call_command.default
def call_endpoint(
    path: str,
    body: Annotated[str | None, Parameter(name="JSON", allow_leading_hyphen=True)] = None,
    /,
    *,
    repeatable: bool = False,
    access: Access = Access(),
) -> None:
    """Call any endpoint of WeChat, and print the raw reply.

    Args:
        path: The endpoint, such as /tcb/getenvinfo. The token is added.
        body: The fields of the request, as a JSON object. - is stdin. Default: {}.
        repeatable: Send it again although WeChat may have carried it out: for calls that only read.
    """
    with run_command(verbose=access.verbose) as screen:
        fields = _read_fields(body, access)

        async def work(client: TcbClient) -> None:
            reply = await client.call(path, fields, repeatable=repeatable)
            if screen.out.is_terminal:
                lines = json.dumps(reply, ensure_ascii=False, indent=2).split("\n")
                text = "\n".join(map(sanitize, lines))
            else:
                text = json.dumps(reply, ensure_ascii=False)
            screen.write(f"{text}\n".encode())

        choose_service(None, access, needs_env=False).run(work)


def _read_fields(body: str | None, access: Access) -> dict[str, Any]:
    if body == access.token_file == "-":
        raise CycloptsError("JSON, --token-file: only one of them can read stdin")
    text = read_input("-") if body == "-" else "{}" if body is None else body
    try:
        fields: object = json.loads(text, object_pairs_hook=make_object)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    except ValueError as error:  # a key that appears twice
        raise CycloptsError(f"JSON: {error}") from None
    if isinstance(fields, dict):
        return cast("dict[str, Any]", fields)
    raise CycloptsError(f"JSON: must be {_EXAMPLE}")
