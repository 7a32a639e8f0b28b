"""Every regular expression of the package takes linear time, whatever a server or a file says."""

import importlib
import inspect
import itertools
import pkgutil
import re
import time

import pytest

import tcb_async

# A text that takes longer than usual when it is short is examined when it is long: in quadratic
# time, that takes 2 to 20 s, and in linear time 0.01 s.
SHORT, LONG = 2**11, 2**15  # characters
SUSPICIOUS, TOO_LONG = 0.002, 1.0  # seconds of CPU
# These see only what the caller, or a program's author, wrote.
OF_CALLERS = {"_arguments._ENDPOINT"}
# What expressions repeat, begin with, or look for: words, blanks, quotes, escapes, brackets.
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


def seconds(expression, text):
    started = time.thread_time()
    expression.sub("", text)
    expression.search(text)
    expression.fullmatch(text)
    return time.thread_time() - started


def repeated(piece, length):
    return piece * (length // len(piece))


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_takes_linear_time(expression):
    slow = []
    for start, piece, end in itertools.product(STARTS, PIECES, ENDS):
        if seconds(expression, start + repeated(piece, SHORT) + end) > SUSPICIOUS:
            taken = seconds(expression, start + repeated(piece, LONG) + end)
            slow += [(start, piece, end, taken)] * (taken > TOO_LONG)
            if slow:
                break
    assert slow == []


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
