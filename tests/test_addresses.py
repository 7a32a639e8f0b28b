"""Addresses are refused before any I/O if a token must not be sent there."""

import pytest

from tcb_async import TcbClient
from tcb_async._addresses import check_query
from tcb_async.exceptions import ConfigurationError


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.weixin.qq.com",
        "ftp://api.weixin.qq.com",
        "https://",
        "https://[::1",
        "https://host:port",
        "https://ho\nst",
        "https://a b",
        "https://xn--zzzzzz.com",
        "http://xn--.localhost",
        "x" * 1000,
        None,
        5,
    ],
)
def test_invalid_base_url_is_refused(base_url):
    expected = r"must be (a str|one), such as 'https://api\.weixin\.qq\.com'"
    with pytest.raises(ConfigurationError, match=rf"^base_url( is|=).*: {expected}"):
        TcbClient("T", base_url=base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:pa55@host",
        "https://host?access_token=pa55",
        "https://host#pa55",
        "https://user:pa55@host:99999",
        "https://user:pa55@host /path",
        "ftp://user:pa55@host?access_token=pa55",
        "user:pa55@host",
        "user:pa55@55@host/path",
    ],
)
def test_secret_in_a_base_url_is_not_shown(base_url):
    with pytest.raises(ConfigurationError, match=r"^base_url (is|of host)") as caught:
        TcbClient("T", base_url=base_url)

    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("path", ["/tcb/listfunctions", "/gateway/cgi-bin/stable_token/"])
def test_base_url_with_an_endpoint_is_refused(path):
    end = path.removeprefix("/gateway")
    with pytest.raises(ConfigurationError, match=f"base_url of x: must end before '{end}'"):
        TcbClient("T", base_url=f"https://x{path}")

    assert "https://x/tcb/v1," in repr(TcbClient("T", base_url="https://x/tcb/v1"))


def test_plain_http_is_refused_unless_loopback_or_allowed():
    for host in ("api.weixin.qq.com", "x.localhost"):  # which may resolve to anything
        with pytest.raises(ConfigurationError, match="allow_http=True"):
            TcbClient("T", base_url=f"http://{host}")

    for url in ("http://127.0.0.1:8", "http://localhost:8", "http://[::1]:8"):
        assert url in repr(TcbClient("T", base_url=url))
    assert "http://x" in repr(TcbClient("T", base_url="http://x/", allow_http=True))


def test_a_query_that_is_changed_later_is_sent_as_it_was():
    query = {"name": "before"}
    checked = check_query(query)
    query["name"] = "after"
    assert checked == {"name": "before"}
