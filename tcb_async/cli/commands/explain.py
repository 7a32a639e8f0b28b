"""``tcb-async explain``: a code's meaning and remedy, offline, from the table of errcodes."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from tcb_async import errcodes
from tcb_async.cli.exits import ExitCode, run_command
from tcb_async.cli.screen import fill
from tcb_async.errcodes import ERRCODES, WRAPPERS, look_up, look_up_tcb_code

explain_command: App = App(
    name="explain",
    usage="tcb-async explain CODE|TEXT",
    help_epilogue="""[bold]Examples[/bold]
  tcb-async explain -501000
  tcb-async explain '{"errcode": 40001, "errmsg": "…"}'""",
)
# ASCII: Chinese has no spaces, and its characters must not belong to the number beside them.
_MARKED_CODE = re.compile(
    r"errcode\W{0,8}?(-?\d{1,9})\b"
    r"|(?<![\w.-])(-[456]\d{5})\b",  # a cloud errcode needs no name
    re.IGNORECASE | re.ASCII,
)
# Not a part of a date or of a request id, which is hexadecimal; but "40164invalid" is a code.
_NUMBER = re.compile(r"(?<![\w.-])-?\d{1,9}(?![\da-f_]|-\d|\.\d)", re.IGNORECASE | re.ASCII)
_WORD = re.compile(r"[A-Za-z][\w.]+", re.ASCII)
_MINUS = re.compile("[\u2212\u2013](?=[0-9])")  # the sign, and the dash that word processors write
_MAX_SHORT = 9_999  # -1 and -1000 are codes, while 1 and 1000 are any numbers
# The SDK of mini programs spells it errCode, Tencent Cloud errorCode. Their -1 is any error, and
# not WeChat's "busy".
_OTHER_MINUS_ONE = re.compile(
    r"""(?:err(?:or)?Code|"code"|[Ee]xit\W?(?:[Cc]ode|[Ss]tatus))\W{0,8}?-1\b""", re.ASCII
)
_PASTED_PATH = re.compile(r"/(?:cgi-bin|tcb|componenttcb)/[\w/]+")
_MOMENTS = {
    "/tcb/listfunctions": "calling with a token",
    "/cgi-bin/stable_token": "fetching a token",  # a few codes differ there
}


@explain_command.default
def explain_text(*text: Annotated[str, Parameter("CODE|TEXT", allow_leading_hyphen=True)]) -> None:
    """Explain an errcode, a TcbCode or a pasted error, offline."""
    with run_command(verbose=False) as screen:
        if not any(text):
            raise CycloptsError("CODE|TEXT: name a code, or paste an error in quotes")
        words = " ".join(text).split()
        # The normalized form has ASCII digits in place of full-width ones.
        pasted = _MINUS.sub("-", unicodedata.normalize("NFKC", " ".join(words)))
        named, codes = _find_codes(pasted)
        known = [code for code in codes if code in ERRCODES]
        code = next((code for code in known if code not in WRAPPERS), None)
        found = (errcodes.find_cause(pasted), *map(look_up_tcb_code, _WORD.findall(pasted)))
        cause = next(filter(None, found), None)
        if code is None and cause is None:
            code = next((code for code in WRAPPERS if code in known), None)
        rows: dict[errcodes.Code, str] = {}  # with the moment of each
        # A TcbCode is more precise than the cloud errcode that wraps it.
        if cause is not None and (code is None or code in errcodes.CLOUD):
            rows[cause] = ""
        elif code is not None:
            for path in _PASTED_PATH.findall(pasted)[:1] or _MOMENTS:
                rows.setdefault(look_up(code, path, pasted), _MOMENTS.get(path, ""))
        for row, moment in rows.items():
            lines = _describe(row, moment if len(rows) > 1 else "")
            if screen.out.is_terminal:
                lines = [fill(line, screen.out.width, subsequent_indent=" " * 9) for line in lines]
            screen.write("".join(f"{line}\n" for line in lines).encode())
        if not rows:
            screen.say(f"tcb-async: {_describe_unknown(pasted, named)}")
            sys.exit(ExitCode.USAGE)


def _find_codes(text: str) -> tuple[list[int], list[int]]:
    """Return the codes that a text names, and those to look up: every number if it names none."""
    text = _OTHER_MINUS_ONE.sub(" ", text)
    named = [_correct_sign(match[1] or match[2]) for match in _MARKED_CODE.finditer(text)]
    return named, named or [_correct_sign(number) for number in _NUMBER.findall(text)]


def _correct_sign(number: str) -> int:
    """Read a code: its minus may be missing, or be the dash after a word."""
    code = int(number)
    is_long = abs(code) > _MAX_SHORT
    if is_long and code not in ERRCODES and -code in ERRCODES:
        return -code
    return code


def _describe_unknown(text: str, named: Sequence[int]) -> str:
    if not named and _OTHER_MINUS_ONE.search(text):
        return "this -1 is any error of an SDK or a program: the text beside it names the reason"
    # Any other number may be a port, or a line of a program.
    unknown = look_up(named[0] if named else 0)
    return f"the text names no code that is known here: {unknown.advice}"


def _describe(row: errcodes.Code, moment: str) -> list[str]:
    """Return the lines about a code, and about the moment, if one is given."""
    retried = "no"
    if row.error.retryable:
        retried = "yes"
    elif row in [ERRCODES[code] for code in errcodes.STALE_TOKEN]:
        retried = "at most twice, with a fresh token"
    return [
        f"code     {row.code}",
        *([f"when     {moment}"] if moment else []),
        f"meaning  {row.meaning}",
        f"advice   {row.advice}",
        f"error    {row.error.__name__}",
        f"retried  {retried}",
        f"see      {errcodes.find_table_url(row.code)}",
    ]
