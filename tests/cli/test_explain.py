"""``tcb-async explain``: codes and pasted errors, offline."""

# ruff: noqa: RUF001 - users paste Chinese

import json
import re
from pathlib import Path

import pytest
from terminal import run_here

from tcb_async.errcodes import ERRCODES, TCB_CODES

REPLY = (
    "-501000 [100003] env not exists (854efd83-9979-4e9c-aaa6-8910206db9a4) "
    "TcbCode: [INVALID_ENV] rid: 65e82ed8-2afc1650-0afa5c76"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REPLY, ["code     INVALID_ENV", "unpaid bills", "retried  no", "docs.cloudbase.net"]),
        ("-1", ["code     -1", "the system is busy", "retried  yes", "errCode.html"]),
        ("EXCEED_RATELIMIT", ["RateLimitError", "lower concurrency", "retried  yes"]),
        ('{"errcode": -601012, "errmsg": "at 3 -1"}', ["code     -601012", "wxcloud/reference"]),
        ("failed with 503: errCode: 40001", ["retried  at most twice", "the appsecret is wrong"]),
        ("FunctionName not found, errcode=-501000", ["code     -501000", "ApiError"]),
        ("after 30 s: LimitExceeded.Request", ["code     LimitExceeded.Request"]),
        ("云函数报错 环境不存在", ["code     INVALID_ENV"]),
        ("错误代码40001，说明access_token无效", ["code     40001", "retried  at most twice"]),
        ("接口返回45011怎么办", ["code     45011", "retried  yes"]),
        ("错误码：４５００９", ["code     45009"]),
        ("云开发报错\u2212501000 TcbCode:[INVALID_ENV]", ["code     INVALID_ENV"]),
        ("errcode：\uff0d601012", ["code     -601012"]),
        ("it exits with \u2013501003", ["code     -501003"]),
        # github.com/guren-cloud/v-request/issues/7
        (
            "errCode: -404011 cloud function execution error | errMsg: … error code -504002",
            ["code     -504002", "the cloud function failed"],
        ),
        ("errCode: -404011 cloud function execution error", ["code     -404011"]),
        ("errCode: -601034 | errMsg: 没有权限，请先开通云开发或者云托管", ["code     -601034"]),
        ("返回 -1, TcbCode: [EXCEED_RATELIMIT]", ["code     EXCEED_RATELIMIT"]),
        ("failed -1 after 3 s, then 45009", ["code     45009"]),
        # github.com/wuhou123/wxxcx/issues/5
        (
            "errCode: -501000  | errMsg: Environment not found (callId: 1640257458052-0.895)",
            ["code     INVALID_ENV"],
        ),
        ("errCode: -504002 errMsg: x {'errcode': 40097, 'hint'", ["code     40097"]),
        ("errcode: -1 first, errcode: 45011 later", ["code     45011"]),
        ("errCode: -1 | errcode: 40164 invalid ip", ["code     40164"]),
        ("process exit code -1: errcode: 48001", ["code     48001"]),
        ("微信一直返回-1", ["code     -1", "retried  yes"]),
        ('{"errcode":-1,"errmsg":"system error"}', ["code     -1", "retried  yes"]),
        ("rid: 61007a2b-40164123, 2021-40001-12: 45009", ["code     45009"]),
    ],
)
def test_pasted_error_is_explained(text, said):
    ended = run_here(["explain", text], {})

    assert (ended.code, ended.err) == (0, "")
    assert [words for words in said if words not in ended.out] == []


SAMPLES = Path(__file__).parents[1] / "samples" / "pasted_errors.json"
"""What users pasted: the text, its code (null if no table has one), and where it was found."""


@pytest.mark.parametrize("pasted", json.loads(SAMPLES.read_bytes()))
def test_pasted_text_from_the_web_is_explained(pasted):
    ended = run_here(["explain", pasted["text"]], {})

    codes = {*re.findall(r"^code     (.*)$", ended.out, re.MULTILINE)}
    assert codes == ({pasted["code"]} if pasted["code"] else set())
    assert ended.code == (0 if codes else 2)


def test_endpoint_in_the_text_decides_which_meaning():
    both, one = (
        run_here(["explain", text], {}).out
        for text in ("40001", "/cgi-bin/stable_token returned errcode 40001")
    )

    assert (both.count("code "), one.count("code ")) == (2, 1)
    assert re.findall(r"^when     (.*)\nmeaning  (.*)", both, re.MULTILINE) == [
        ("calling with a token", "the access token is invalid or was replaced"),
        ("fetching a token", "the appsecret is wrong"),
    ]
    assert "when" not in one
    assert "the appsecret is wrong" in one


def test_a_terminal_breaks_no_word():
    out = run_here(["explain", "40001"], {"COLUMNS": "80"}, is_terminal=True).out

    assert "may have been\n         reset\n" in out


def test_only_the_first_tcb_code_is_explained():
    out = run_here(["explain", "EXCEED_RATELIMIT, INVALID_ENV"], {}).out

    assert re.findall(r"^code     (.*)$", out, re.MULTILINE) == ["EXCEED_RATELIMIT"]


def test_every_code_is_explained():
    for code in (*map(str, ERRCODES), *TCB_CODES):
        assert f"code     {code}\n" in run_here(["explain", code], {}).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["hello"],
            "known here: look it up in WeChat's table: https://",
        ),
        (["123456"], "no code that is known here: look it up in WeChat's table"),
        (["errcode: 123456 -1"], "WeChat's table: https://"),
        (["9" * 5000], "WeChat's table: https://"),
        (["-601999"], "table: https://developers.weixin.qq.com/miniprogram"),
        (["certificate verify failed (_ssl.c:1007)"], "the text names no code that is known"),
        (["Cannot connect to host api.weixin.qq.com:443"], "the text names no code that is known"),
        # github.com/Spade-sec/First/issues/2, as pasted and as translated
        (["errCode: -1 | errMsg: Cloud API isn't enabled"], "this -1 is any error of an SDK"),
        (["errCode： -1 |errMsg： Cloud API 未启用"], "this -1 is any error of an SDK"),
        (["the process ended with exit code -1"], "the text beside it names the reason"),
        (['{"errorCode":-1,"statusCode":433}'], "the text beside it names the reason"),
        (["invalid appsecret"], "the text names no code that is known here: look it up"),
        ([], "paste an error in quotes"),
    ],
)
def test_unknown_text_exits_with_2_and_a_link(words, said):
    ended = run_here(["explain", *words], {})

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
