"""Every regular expression of the package takes linear time, whatever a server or a file says."""

import importlib
import inspect
import itertools
import pkgutil
import re

import pytest
from counted_work import is_quadratic, seconds

import tcb_async

# `re` counts no steps: see `counted_work`. Only a short text that takes a while is examined when it
# is longer; on a slow machine, these are more texts. In linear time, it takes a tenth of this time.
SHORT, LONG = 2**10, 2**11  # characters; the longest text has four times as many
SUSPICIOUS = 0.0005  # seconds of CPU
# These see only what the caller, or a program's author, wrote.
OF_CALLERS = {"_addresses._ENDPOINT"}
# The texts that expressions look for: words, blanks, quotes, escapes, brackets.
PIECES = [
    "a", "A1", "0", "0" * 24, "-", "-1 ", ".", "/", "//", "/a", "/a/", ",", " , ", "=", "x@", "@@@",
    " ", "\t", "\n", "\u2028", "\\", '"', '\\"', '{\\"k\\":1,', "'", "[", "[ ", "]", "{", "}", "(",
    "/*", "/* ", "/* // ", "*", "<", "<a>", "%", "%4", "%41", "\\u00", "\\u0041", "\ud800",
    "\u767b",
    "secret", "secret=", "secret : ", "access_token=", 'ticket":"', "rid: ", "rid: 1-", "hint: [",
    "hints: [ req_id: ", "TcbCode: [", "TcbCode:  ", "errcode", "errcode: ", "errcode-----",
    "environment not ", "Nodejs1", "https://", "https://a.weixin.qq.com", "/tcb/", "2026-",
    "+08:00",
]  # fmt: skip
STARTS = ["", '"', "/*", "hint: [", "secret=", "a"]
ENDS = ["", "!"]


MODULES = [each.name for each in pkgutil.walk_packages(tcb_async.__path__, "tcb_async.")]


def expressions():
    """Every compiled expression of every module, by its name."""
    for module in MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            full_name = f"{module.removeprefix('tcb_async.')}.{name}"
            if isinstance(value, re.Pattern) and full_name not in OF_CALLERS:
                yield pytest.param(value, id=full_name)


def is_slow(expression, start, piece, end):
    """Whether an expression takes quadratic time for a text that repeats a piece."""

    def text_of(length):
        return start + piece * (length // len(piece)) + end

    def use(text):
        expression.sub("", text)
        expression.search(text)
        expression.fullmatch(text)

    return seconds(use, text_of(SHORT)) > SUSPICIOUS and is_quadratic(use, text_of, LONG)


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_takes_linear_time(expression):
    texts = itertools.product(STARTS, PIECES, ENDS)

    assert next((text for text in texts if is_slow(expression, *text)), None) is None


@pytest.mark.slow
def test_quadratic_time_is_noticed():
    comment_that_is_never_closed = ("", "/* ", "")

    assert is_slow(re.compile(r"/\*.*?\*/"), *comment_that_is_never_closed)


def test_expressions_have_names_so_that_they_are_tested():
    """An expression in the middle of a function is seen by no test."""
    inline = re.compile(r"\bre\.(search|match|fullmatch|sub|split|findall|finditer)\(")
    found = [
        (module, line.strip())
        for module in MODULES
        for line in inspect.getsource(importlib.import_module(module)).splitlines()
        if inline.search(line)
    ]
    assert found == []
