"""The tables of errcodes and TcbCodes are data: one row per code, with its class and advice."""

import pytest

from tcb_async._listings import FUNCTIONS
from tcb_async.errcodes import (
    ERRCODES,
    STALE_TOKEN,
    TCB_CODES,
    TOKEN_ENDPOINT_ERRCODES,
    is_environment_missing,
    is_platform_refused,
    is_token_accepted,
    look_up,
    look_up_tcb_code,
)
from tcb_async.exceptions import (
    ApiError,
    ParameterError,
    QuotaError,
    TokenError,
)

AUTHORIZER_TOKEN = "/cgi-bin/component/api_authorizer_token"


def test_four_codes_differ_at_token_endpoints():
    for code in ERRCODES:
        same = look_up(code, AUTHORIZER_TOKEN) == look_up(code, FUNCTIONS.path)
        assert same == (code not in {40001, 40014, 41001, 42001})
    assert "appsecret" in look_up(40001, AUTHORIZER_TOKEN).meaning
    assert "access token" in look_up(40001).meaning
    assert look_up(40001, "/tcb/getqcloudtoken") == look_up(40001)


def test_only_platform_errors_affect_every_merchant():
    met = {code for code in ERRCODES if is_platform_refused(code, AUTHORIZER_TOKEN)}

    assert met == {
        *(40001, 40002, 40014, 40125, 40164, 40234, 40235, 40243, 41001, 41002, 41004, 42001),
        *(41018, 45009, 61004, 61005, 61006, 61014),
        *range(89501, 89508),
    }
    assert not any(is_platform_refused(code, FUNCTIONS.path) for code in ERRCODES)
    # The appid in question is the platform's only where the platform's token is requested.
    assert is_platform_refused(40013, "/cgi-bin/component/api_component_token")


def test_token_is_accepted_if_something_else_was_refused():
    errors = {code: look_up(code).error("", errcode=code) for code in (*ERRCODES, 123456)}

    assert all(is_token_accepted(errors[code]) for code in (-501000, 40097, 48001, 85088))
    refused = (40001, 40066, 40234, 61004, 45009, -1, 123456)
    assert not any(is_token_accepted(errors[code]) for code in refused)


def test_tcb_code_applies_to_cloud_errcodes_only():
    said = "Environment not found TcbCode: [INVALID_ENV]"

    assert look_up(-501000, errmsg=said) is look_up(-699999, errmsg=said)
    assert look_up(-501000, errmsg=said).error is ParameterError
    for code in (42001, -1, -1000, 61007):
        assert look_up(code, errmsg=said) is ERRCODES[code]


@pytest.mark.parametrize("code", [-501005, -501000, -601027])
def test_invalid_environment_has_one_advice_with_all_causes(code):
    row = look_up(code, errmsg="TcbCode: [INVALID_ENV]" if code == -501000 else "")

    assert row.error is ParameterError
    for cause in (
        "the id",
        "`tcb-async environments`",
        "unpaid bills",
        "bound to the mini program",
    ):
        assert cause in row.advice


def test_missing_environment_is_recognised():
    missing = ParameterError("", errcode=-501000, tcb_code="INVALID_ENV")
    refused = ParameterError("", errcode=-501000, tcb_code="InvalidParameterValue.Limit")

    assert is_environment_missing(missing)
    assert is_environment_missing(ParameterError("", errcode=-501005))
    assert not is_environment_missing(refused)


def test_longest_tcb_code_decides():
    assert look_up_tcb_code("LimitExceeded.Request").error is QuotaError
    assert look_up_tcb_code("LimitExceeded.Offset").error is ParameterError
    assert look_up_tcb_code("Unheard") is None


def test_unknown_code_says_so():
    row = look_up(123456)

    assert row.error is ApiError
    assert "does not know" in row.meaning


def test_every_row_has_a_meaning_and_advice():
    errcodes = [*ERRCODES.values(), *TOKEN_ENDPOINT_ERRCODES.values()]

    assert all(row.meaning and row.advice for row in (*errcodes, *TCB_CODES.values()))
    assert all(row.error is TokenError for row in errcodes if row.code in STALE_TOKEN)


@pytest.mark.parametrize("code", [40014, 41001, 42001])
def test_advice_names_the_token_of_the_endpoint(code):
    assert "StableToken" in look_up(code, FUNCTIONS.path).advice
    assert "ComponentToken" in look_up(code, AUTHORIZER_TOKEN).advice
