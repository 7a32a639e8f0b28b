"""A file of accounts: one JSON object a line.

Rule: an error names the line, and shows no token. A line without a token is an account that fails
alone: `changes` would say of an account that is left out that it has left.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

import msgspec

from tcb_async._redact import Secret, decode_secret
from tcb_async.cli.files import read_input
from tcb_async.exceptions import ConfigurationError
from tcb_async.inventory import Account
from tcb_async.inventory.accounts import make_failing_account

_NO_TOKEN = (
    "nobody gave a token for it: write an access_token into its line, and run the command again"
)
_NOT_UTF_8 = "it is not in UTF-8: save the file as UTF-8, not as Unicode (UTF-16) or ANSI (GBK)"


class _AccountLine(msgspec.Struct, forbid_unknown_fields=True):
    appid: str
    access_token: Secret | None = None
    envs: list[str] | None = None


def read_account_file(path: Path) -> list[Account]:
    """Read the accounts; refuse an appid or a token that two lines have. ``-`` is stdin."""
    content = read_input(path)
    accounts: list[Account] = []
    lines_of_appids: dict[str, int] = {}
    lines_of_tokens: dict[Secret, int] = {}
    # A file may begin with a byte order mark: Notepad and PowerShell write one.
    lines = content.removeprefix(BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        account, token = _parse_account(path, number, line)
        if (first := lines_of_appids.setdefault(account.appid, number)) != number:
            raise ConfigurationError(
                f"--accounts {path}, line {number}: {account.appid} is in line {first} already: "
                "write one line for it"
            )
        if token is not None and (first := lines_of_tokens.setdefault(token, number)) != number:
            # A token is of one account: the other would be listed with the wrong functions.
            raise ConfigurationError(
                f"--accounts {path}: lines {first} and {number} have the same access_token: write "
                "each account's own"
            )
        accounts.append(account)
    if not accounts:
        raise ConfigurationError(
            f"--accounts {path}: the file contains no accounts: write one JSON object per line"
        )
    return accounts


def _parse_account(path: Path, number: int, line: bytes) -> tuple[Account, Secret | None]:
    try:
        row = msgspec.json.decode(line, type=_AccountLine, dec_hook=decode_secret)
        if row.envs != []:
            if row.access_token is None:
                return make_failing_account(row.appid, _NO_TOKEN, row.envs), None
            return Account(row.appid, row.access_token, row.envs), row.access_token
        reason = "envs is empty: name environments, or leave envs out to list all of them"
    except ConfigurationError as error:
        reason = f"{error.argument} {error.problem}".strip()
    except msgspec.ValidationError as error:  # it names types and fields, no values
        reason = str(error)
        if "unknown field" in reason:  # its name may be a token
            reason = "it has a field other than appid, access_token and envs"
    except (msgspec.DecodeError, RecursionError, ValueError):
        is_text = line.decode(errors="ignore").encode() == line
        reason = "it is not one complete JSON object" if is_text else _NOT_UTF_8
    raise ConfigurationError(
        f"--accounts {path}, line {number}: {reason}; a line is such as "
        '{"appid": "wx0123456789abcdef", "access_token": "…"}'
    )
