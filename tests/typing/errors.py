"""Typical handling of errors. Checked by mypy and pyright, never run."""

from typing import assert_type

from tcb_async import (
    ApiError,
    ConfigurationError,
    QuotaError,
    RateLimitError,
    ResponseError,
    TcbClient,
    TcbError,
    TransportError,
    WaitTimeoutError,
)


async def handle(client: TcbClient) -> None:
    try:
        await client.function_page("test-777bb9")
    except QuotaError as error:
        assert_type(error.retry_after, float | None)
    except ApiError as error:
        assert_type(error.errcode, int | None)
        assert_type(error.errmsg, str)
        assert_type(error.rid, str | None)
        assert_type(error.tcb_code, str | None)
        assert_type(error.endpoint, str)
    except TransportError as error:
        assert_type(error.status, int | None)
    except ResponseError as error:
        assert_type(error.status, int | None)
    except TcbError as error:
        client.functions("test-777bb9", resume=error.cursor)
        if error.cursor is not None:
            assert_type(error.cursor.count, int)
        assert_type(error.env, str | None)
        assert_type(error.offset, int | None)
        assert_type(error.attempts, int)
        assert_type(error.retryable, bool)
        assert_type(error.errcode, int | None)
        assert_type(error.rid, str | None)
        assert_type(error.message, str)


def parents(
    rate: RateLimitError, configuration: ConfigurationError, wait: WaitTimeoutError
) -> tuple[QuotaError, ValueError, TimeoutError]:
    return rate, configuration, wait
