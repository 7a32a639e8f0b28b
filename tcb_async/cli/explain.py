"""``tcb-async explain``: a code's meaning and remedy, offline, from the table of errcodes."""

import re
import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from tcb_async import errcodes
from tcb_async.cli.exits import REFUSED, run_command
from tcb_async.errcodes import ERRCODES, TcbCode, look_up, look_up_tcb_code
from tcb_async.retry import is_retryable

explain_command: App = App(
    name="explain",
    usage="tcb-async explain CODE|TEXT",
    help_epilogue="""[bold]Examples[/bold]
  tcb-async explain -501000
  tcb-async explain '{"errcode": 40001, "errmsg": "…"}'""",
)
_NAMED = re.compile(r"errcode\W{0,4}?(-?\d{1,9})\b", re.IGNORECASE)
_NUMBER, _WORD = re.compile(r"(?<![\w.-])-?\d{1,9}(?![\w-]|\.\d)"), re.compile(r"[A-Za-z][\w.]+")
_ENDPOINT = re.compile(r"/(?:cgi-bin|tcb|componenttcb)/[\w/]+")
_BOTH_KINDS = ("/tcb/listfunctions", "/cgi-bin/stable_token")  # a few codes differ for tokens
_RETRIED = {"retries": "yes", "replays": "once, with a fresh token", "raises": "no"}


@explain_command.default
def explain_text(*text: Annotated[str, Parameter("CODE|TEXT", allow_leading_hyphen=True)]) -> None:
    """Explain an errcode, a TcbCode or a pasted error, offline."""
    with run_command(verbose=False) as screen:
        if not (pasted := " ".join(text)):
            raise CycloptsError("CODE|TEXT: name a code, or paste an error in quotes")
        named = _NAMED.search(pasted)
        codes = [int(code) for code in ([named[1]] if named else _NUMBER.findall(pasted))]
        if (code := next(filter(ERRCODES.__contains__, codes), None)) is not None:
            paths = _ENDPOINT.findall(pasted)[:1] or _BOTH_KINDS
            rows = tuple(look_up(code, path, pasted) for path in paths)
        else:
            words = (errcodes.find_cause(pasted), *map(look_up_tcb_code, _WORD.findall(pasted)))
            rows = tuple(filter(None, words))[:1]
        for row in dict.fromkeys(rows):
            screen.write(
                f"code     {row.prefix if isinstance(row, TcbCode) else code}\n"
                f"meaning  {row.meaning}\nadvice   {row.advice}\nerror    {row.error.__name__}\n"
                f"retried  {_RETRIED[handling(row)]}\nsource   {row.source}\n".encode()
            )
        if not rows:
            unknown = look_up(codes[0] if codes else 0)
            screen.say(f"tcb-async: the code is not known: {unknown.advice}: {unknown.source}")
            sys.exit(REFUSED)


def handling(row: errcodes.Explanation) -> str:
    """Return what the client does with the error: a key of `_RETRIED`."""
    if is_retryable(row.error("")):
        return "retries"
    replayed = [ERRCODES[code] for code in errcodes.STALE_TOKEN]
    return "replays" if row in replayed else "raises"
