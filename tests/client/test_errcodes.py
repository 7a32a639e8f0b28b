"""The errcode table is data: one row a code, with its class and its advice."""

import ast
from pathlib import Path

import pytest

import tcb_async
from tcb_async._listings import (
    AUTHORIZERS,
    BATCH_ENVIRONMENTS,
    BATCH_FUNCTIONS,
    ENVIRONMENTS,
    FUNCTIONS,
)
from tcb_async.errcodes import (
    ERRCODES,
    STALE_TOKEN,
    TOKEN_ENDPOINT_ERRCODES,
    is_platforms_fault,
    is_token_accepted,
    look_up,
)
from tcb_async.exceptions import (
    ApiError,
    DailyQuotaError,
    ParameterError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    SystemBusyError,
    TokenError,
)

AS_DESIGNED = {
    SystemBusyError: {-1, -1000, -501001, -501002, -601001, -601003},
    TokenError: {
        *(40001, 40014, 42001, 41001, 61023),
        *(40002, 40013, 40125, 40164, 40234, 40235, 40243, 41002, 41004),
        *(61004, 61005, 61006, *range(89501, 89508)),
    },
    ParameterError: {
        *(40066, 40097, 40101, 40170, 43002, 44002, 47001),
        *(-501000, -501007, -601002),
    },
    PermissionDeniedError: {
        *(48001, 48004, 50002, 61003, 61007, 85088),
        *(-501005, -501019, -604101),
    },
    DailyQuotaError: {45009},
    RateLimitError: {45011, -501004},
    QuotaError: {-501003},
}
AUTHORIZER_TOKEN = "/cgi-bin/component/api_authorizer_token"


def test_every_code_of_the_design_has_its_class():
    found: dict[type[ApiError], set[int]] = {}
    for row in ERRCODES.values():
        found.setdefault(row.error, set()).add(row.code)

    assert found == AS_DESIGNED


@pytest.mark.parametrize(
    "listing", [FUNCTIONS, ENVIRONMENTS, AUTHORIZERS, BATCH_FUNCTIONS, BATCH_ENVIRONMENTS]
)
@pytest.mark.parametrize(
    ("code", "remedy"), [(61004, "IP whitelist"), (40164, "IP whitelist"), (40243, "unfreeze")]
)
def test_a_refused_caller_reads_the_same_remedy_at_every_endpoint(listing, code, remedy):
    with pytest.raises(TokenError, match=remedy):
        listing.decode(b'{"errcode": %d}' % code)


def test_only_five_codes_mean_another_thing_where_tokens_are_issued():
    for code in ERRCODES:
        same = look_up(code, AUTHORIZER_TOKEN) == look_up(code, FUNCTIONS.path)
        assert same == (code not in {40001, 40014, 41001, 42001, 45009})
    assert "appsecret" in look_up(40001, AUTHORIZER_TOKEN).meaning
    assert "access token" in look_up(40001).meaning


PLATFORMS = {45009, 61004, 61005, 61006, 40001, 40125, 40234, 40235, 40243, *range(89501, 89508)}


def test_the_platforms_own_fault_meets_every_merchant_and_a_merchants_none_but_it():
    met = {code for code in ERRCODES if is_platforms_fault(code, AUTHORIZER_TOKEN)}

    assert met == PLATFORMS | {40002, 40014, 40164, 41001, 41002, 41004, 42001}
    assert not any(is_platforms_fault(code, FUNCTIONS.path) for code in ERRCODES)
    # Its appid is at fault only where its own token is asked for.
    assert is_platforms_fault(40013, "/cgi-bin/component/api_component_token")


def test_a_token_is_accepted_if_something_else_was_refused():
    assert all(map(is_token_accepted, (-501000, 40097, 85088, 123456)))
    assert not any(map(is_token_accepted, (40001, 40234, 61004, 45009, -1)))


def test_an_unknown_code_says_so():
    row = look_up(123456)

    assert (row.code, row.error, row.whose) == (123456, ApiError, None)
    assert "does not know" in row.meaning


def test_every_row_says_what_it_means_whose_fault_it_is_and_what_to_do():
    rows = [*ERRCODES.values(), *TOKEN_ENDPOINT_ERRCODES.values()]

    assert all(row.meaning and row.advice and row.whose for row in rows)
    assert all(row.error is TokenError for row in rows if row.code in STALE_TOKEN)
    assert look_up(-1).whose == look_up(45011).whose == "service"
    assert look_up(40097).whose == "request"
    assert "permission set 49" in look_up(61007).advice


def test_no_other_module_of_the_client_holds_an_errcode():
    package = Path(tcb_async.__file__).parent
    holding = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in {*map(abs, ERRCODES)} - {1, 1000}
    }

    assert {name for name in holding if not name.startswith("emulator")} == {"errcodes.py"}
