"""A client made from environment variables, and its errors for missing variables."""

import pytest

from tcb_async import ConfigurationError, TcbClient

APPID, SECRET = "wx0123456789abcdef", "0123456789abcdef0123456789abcdef"
NAMES = ("TCB_ACCESS_TOKEN", "TCB_APPID", "TCB_SECRET", "TCB_BASE_URL")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


async def test_access_token_is_enough(emulator, monkeypatch):
    emulator.deploy("test-1", count=3)
    monkeypatch.setenv("TCB_ACCESS_TOKEN", emulator.token)
    monkeypatch.setenv("TCB_BASE_URL", emulator.url)

    async with TcbClient.from_env() as client:
        assert (await client.function_page("test-1")).total == 3


async def test_appid_and_its_secret_are_enough(emulator, monkeypatch):
    emulator.add_app(APPID, SECRET)
    emulator.deploy("test-1", count=3)
    monkeypatch.setenv("TCB_APPID", APPID)
    monkeypatch.setenv("TCB_SECRET", SECRET)
    monkeypatch.setenv("TCB_BASE_URL", emulator.url)

    async with TcbClient.from_env(concurrency=2) as client:
        assert (await client.function_page("test-1")).total == 3
        assert "concurrency 2" in repr(client)
    assert emulator.counts["/cgi-bin/stable_token"] == 1


@pytest.mark.parametrize(
    ("variables", "options", "shown"),
    [
        ({"TCB_APPID": APPID}, {}, "GivenToken"),
        ({"TCB_ACCESS_TOKEN": "a b"}, {"token": "T"}, "GivenToken"),
        ({}, {}, "https://api.weixin.qq.com,"),
        ({"TCB_BASE_URL": "https://sh.x.test/"}, {}, "https://sh.x.test,"),
        ({"TCB_BASE_URL": "https://sh.x.test/"}, {"base_url": "https://x.test"}, "https://x.test,"),
        ({"TCB_BASE_URL": "http://x.test"}, {"allow_http": True}, "http://x.test,"),
    ],
)
def test_precedence_of_token_appid_and_argument(variables, options, shown, monkeypatch):
    for name, value in {"TCB_ACCESS_TOKEN": "TOKEN", **variables}.items():
        monkeypatch.setenv(name, value)

    assert shown in repr(TcbClient.from_env(**options))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, r"^TCB_ACCESS_TOKEN is not set.*TCB_APPID and TCB_SECRET"),
        ({"TCB_ACCESS_TOKEN": "", "TCB_SECRET": ""}, r"^TCB_ACCESS_TOKEN is not set"),
        ({"TCB_APPID": APPID}, r"^TCB_SECRET is not set"),
        ({"TCB_SECRET": SECRET}, r"^TCB_APPID is not set"),
        ({"TCB_ACCESS_TOKEN": "a b"}, r"^TCB_ACCESS_TOKEN contains white space"),
        ({"TCB_APPID": "wx/0", "TCB_SECRET": SECRET}, r"^TCB_APPID contains a character"),
        ({"TCB_APPID": SECRET, "TCB_SECRET": APPID}, r"^TCB_APPID does not .*swapped"),
        ({"TCB_APPID": APPID, "TCB_SECRET": f"{SECRET} "}, r"^TCB_SECRET contains white space"),
        ({"TCB_ACCESS_TOKEN": "T", "TCB_BASE_URL": "ftp://x"}, r"^TCB_BASE_URL is not an http"),
        (
            {"TCB_ACCESS_TOKEN": "T", "TCB_BASE_URL": "http://x"},
            r"^TCB_BASE_URL of x: .*allow_http",
        ),
    ],
)
def test_missing_and_invalid_variables_are_named(variables, said, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=said) as caught:
        TcbClient.from_env()

    assert SECRET not in str(caught.value)
