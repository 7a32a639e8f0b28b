"""``tcb-async explain``: codes and pasted errors, offline."""

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
        ("failed with 503: errCode: 40001", ["retried  once", "the appsecret is wrong"]),
        ("FunctionName not found, errcode=-501000", ["code     -501000", "ApiError"]),
        ("after 30 s: LimitExceeded.Request", ["code     LimitExceeded.Request"]),
        ("云函数报错 环境不存在", ["code     INVALID_ENV"]),
    ],
)
def test_pasted_error_is_explained(text, said):
    ended = run_here(["explain", text], {})

    assert (ended.code, ended.err) == (0, "")
    assert [words for words in said if words not in ended.out] == []


def test_endpoint_in_the_text_decides_which_meaning():
    both, one = (
        run_here(["explain", text], {}).out
        for text in ("40001", "/cgi-bin/stable_token returned errcode 40001")
    )

    assert (both.count("code "), one.count("code ")) == (2, 1)
    assert "the appsecret is wrong" in one


def test_every_code_is_explained():
    for code in (*map(str, ERRCODES), *(row.prefix for row in TCB_CODES)):
        assert f"code     {code}\n" in run_here(["explain", code], {}).out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["hello"], 4, "global return codes: https://"),
        (["123456"], 4, "global return codes: https://"),
        (["errcode: 123456 -1"], 4, "global return codes: https://"),
        (["9" * 5000], 4, "global return codes: https://"),
        (["-601999"], 4, "table of cloud errcodes: https://"),
        ([], 2, "paste an error in quotes"),
    ],
)
def test_unknown_text_exits_with_4_and_a_link(words, code, said):
    ended = run_here(["explain", *words], {})

    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
