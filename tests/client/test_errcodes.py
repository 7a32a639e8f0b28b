"""The errcode table is data: one row a code, with its class and its advice."""

import pytest

from tcb_async.errcodes import ERRCODES, STALE_TOKEN, TOKEN_ENDPOINT_ERRCODES, look_up
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
    TokenError: {40001, 40014, 42001, 41001},
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
CREDENTIAL = {40001, 40002, 40013, 40125, 40164, 40243, 41002, 41004, 61004, 61023}


def test_every_code_of_the_design_has_its_class():
    found: dict[type[ApiError], set[int]] = {}
    for row in ERRCODES.values():
        found.setdefault(row.error, set()).add(row.code)

    assert found == AS_DESIGNED


@pytest.mark.parametrize("code", sorted(CREDENTIAL | set(range(89501, 89508))))
def test_every_credential_code_is_a_token_error_with_a_remedy(code):
    row = look_up(code, at_token_endpoint=True)

    assert row.error is TokenError
    assert row.advice


THE_PLATFORMS_OWN = {45009, 61004, 61005, 61006, 40001, 40013, 40125, 40243, *range(89501, 89508)}
A_MERCHANTS = {61003, 61007, 61023, 48001}


@pytest.mark.parametrize("code", sorted(THE_PLATFORMS_OWN))
def test_the_platforms_own_fault_at_a_token_endpoint_meets_every_account(code):
    assert look_up(code, at_token_endpoint=True).whose == "platform"


@pytest.mark.parametrize("code", sorted(A_MERCHANTS))
def test_a_merchants_fault_is_the_merchants_wherever_it_comes_up(code):
    assert look_up(code, at_token_endpoint=True).whose == "merchant"


def test_no_code_at_a_listing_is_the_platforms_fault_not_even_a_quota():
    assert {row.whose for row in ERRCODES.values()} == {"merchant", "request", "service"}
    assert look_up(45009).whose == "merchant"


def test_what_is_busy_is_the_services_fault_and_a_bad_argument_the_requests():
    assert look_up(-1).whose == look_up(45011).whose == "service"
    assert look_up(40097).whose == "request"
    assert look_up(123456).whose is None


def test_a_busy_token_endpoint_is_busy_too():
    assert look_up(-1, at_token_endpoint=True).error is SystemBusyError


def test_the_same_code_means_another_thing_at_a_token_endpoint():
    assert "appsecret" in look_up(40001, at_token_endpoint=True).meaning
    assert "access token" in look_up(40001).meaning


def test_an_unknown_code_says_so():
    row = look_up(123456)

    assert (row.code, row.error) == (123456, ApiError)
    assert "does not know" in row.meaning


def test_every_row_says_what_it_means_and_what_to_do():
    rows = [*ERRCODES.values(), *TOKEN_ENDPOINT_ERRCODES.values()]

    assert all(row.meaning and row.advice for row in rows)
    assert {row.code for row in ERRCODES.values() if row.error is TokenError} == STALE_TOKEN


def test_61007_says_which_permission_set_to_ask_for():
    assert "permission set 49" in look_up(61007).advice
