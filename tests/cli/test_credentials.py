"""Credentials and connections: options, variables, files and prompts, and no secret shown."""

import pytest
from constants import APPID, APPSECRET
from leaks import eventually
from terminal import ENV, Screen, env_for, is_one_sentence, run, start
from tls_emulator import CERTIFICATES, over_tls

from tcb_async.cli import credentials
from tcb_async.emulator import Emulator, Fault


async def test_plain_http_exits_with_3_unless_allowed():
    words = ("count", ENV, "--base-url", "http://wechat.invalid")

    refused = await run(*words, env={"TCB_ACCESS_TOKEN": "token"})
    assert refused.code == 3
    assert "--allow-http" in refused.err
    assert "--base-url of wechat.invalid" in refused.err
    insisting = await run(*words, "--allow-http", env={"TCB_ACCESS_TOKEN": "token"})
    assert insisting.code == 5


@pytest.mark.parametrize(
    "words",
    [
        ("merchants", "--component-appid", "wx0123456789abcdef"),
        ("inventory", "night.sqlite", "--appid", "wx0123456789abcdef"),
    ],
)
async def test_plain_http_is_refused_before_a_secret_is_read(words):
    ended = await run(*words, "--base-url", "http://wechat.invalid")

    assert ended.code == 3
    assert "--base-url of wechat.invalid" in ended.err


@pytest.mark.slow
async def test_an_attempt_takes_no_longer_than_the_time_out(emulator):
    emulator.script([Fault.hang()] * 99)

    ended = await run("count", ENV, "--request-timeout", "0.1", env=env_for(emulator))

    assert ended.code == 5
    assert "0.1 s" in ended.err


async def test_missing_credentials_name_every_way_to_set_them():
    ended = await run("list", ENV)

    assert ended.code == 3
    assert is_one_sentence(ended.err)
    for way in ("TCB_ACCESS_TOKEN", "--token-file", "TCB_APPID", "TCB_SECRET", "--demo"):
        assert way in ended.err


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("is_stdin", [False, True])
async def test_a_token_file_may_have_a_byte_order_mark(emulator, tmp_path, is_stdin, mark):
    emulator.deploy(ENV, count=2)
    file, text = tmp_path / "token", f"{mark}{emulator.token}\r\n"
    file.write_text(text, encoding="utf-8")
    wrong = env_for(emulator, TCB_ACCESS_TOKEN="wrong")

    words = ("--token-file", "-" if is_stdin else str(file))
    assert (await run("count", ENV, *words, env=wrong, stdin=text)).out == "2\n"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"\xff\xfe\x00"])
async def test_a_file_without_a_token_exits_with_3(emulator, tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    text = content.decode(errors="surrogateescape")

    for path in (str(file), "-"):
        words = ("--token-file", path)
        ended = await run("count", ENV, *words, env=env_for(emulator), stdin=text)

        assert ended.code == 3
        assert is_one_sentence(ended.err)
        assert "two words" not in ended.err
        assert emulator.requests == ()


async def test_an_empty_variable_counts_as_not_set(own_app):
    empty = {"TCB_ACCESS_TOKEN": ""}

    assert (await run("count", ENV, "--appid", APPID, env=own_app)).out == "2\n"
    assert (await run("count", ENV, env=own_app | empty | {"TCB_APPID": APPID})).out == "2\n"


async def test_an_option_goes_before_a_variable(emulator, own_app, tmp_path):
    env = own_app | env_for(emulator, TCB_COMPONENT_APPID="wxplatform")
    store = str(tmp_path / "i.sqlite")

    await run("count", ENV, "--appid", APPID, env=env)
    await run("count", ENV, env=env | {"TCB_APPID": APPID})
    accounts = await run("inventory", store, "--appid", APPID, env=env)

    assert emulator.counts["/cgi-bin/stable_token"] == 2
    assert accounts.code == 0


@pytest.mark.parametrize(("secret", "said"), [("", "TCB_SECRET"), ("wrong", "appsecret")])
async def test_a_missing_or_wrong_appsecret_exits_with_3(own_app, secret, said):
    ended = await run("count", ENV, "--appid", APPID, env=own_app | {"TCB_SECRET": secret})

    assert ended.code == 3
    assert said in ended.err


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TCB_ACCESS_TOKEN": "a b"}, "TCB_ACCESS_TOKEN contains white space"),
        ({"TCB_APPID": "a b", "TCB_SECRET": "s"}, "TCB_APPID contains white space"),
        ({"TCB_APPID": APPSECRET, "TCB_SECRET": APPID}, "TCB_APPID does not begin with wx"),
        ({"TCB_APPID": APPID, "TCB_SECRET": "a b"}, "TCB_SECRET contains white space"),
        ({"TCB_SECRET": "s"}, "TCB_SECRET is set, but TCB_APPID is not"),
        ({"TCB_ACCESS_TOKEN": "t", "TCB_BASE_URL": "wechat"}, "TCB_BASE_URL is not an http(s) URL"),
        ({"TCB_ACCESS_TOKEN": "t", "TCB_BASE_URL": "http://x"}, "TCB_BASE_URL of x: plain http"),
    ],
)
async def test_an_invalid_variable_is_named(variables, said):
    ended = await run("count", ENV, env=variables)

    assert ended.code == 3
    assert is_one_sentence(ended.err)
    assert said in ended.err


@pytest.fixture
def prompt(monkeypatch):
    """A prompt that reads stdin, which is not a terminal here."""
    monkeypatch.setattr(credentials, "_can_prompt", lambda: True)
    monkeypatch.setattr(credentials.getpass, "getpass", lambda *_: input())


@pytest.mark.usefixtures("prompt")
async def test_a_secret_may_be_typed(emulator, own_app):
    env = {"TCB_BASE_URL": emulator.url}

    typed = await run("count", ENV, "--appid", APPID, env=env, stdin=f"{APPSECRET}\n")
    from_stdin = await run("count", ENV, "--token-file", "-", env=env, stdin=f"{emulator.token}\n")

    assert typed.out.endswith("2\n")
    assert from_stdin.out.endswith("2\n")


@pytest.mark.usefixtures("prompt")
async def test_a_typed_secret_with_other_bytes_is_not_shown(emulator, monkeypatch):
    def read(*_):
        return b"\xce\xd2planted".decode("utf-8")

    monkeypatch.setattr(credentials.getpass, "getpass", read)
    ended = await run("count", ENV, "--appid", APPID, env={"TCB_BASE_URL": emulator.url})

    assert ended.code == 3
    assert "the typed secret contains bytes that are not UTF-8" in ended.err
    assert "planted" not in ended.err


async def test_an_empty_appid_is_refused(emulator):
    ended = await run("count", ENV, "--appid", "", env=env_for(emulator))

    assert ended.code == 3
    assert "--appid is empty" in ended.err


@pytest.mark.usefixtures("prompt")
async def test_an_abandoned_prompt_exits_with_130(emulator):
    env = {"TCB_BASE_URL": emulator.url}
    ended = await run("count", ENV, "--appid", APPID, env=env, stdin="")

    assert ended.code == 130


LIKE_AN_APPSECRET = "0123456789abcdef" * 2


@pytest.mark.parametrize("source", ["variable", "file"])
async def test_an_appsecret_in_place_of_the_token_is_named(emulator, tmp_path, source):
    (tmp_path / "token").write_text(LIKE_AN_APPSECRET)
    env = env_for(emulator) | {"TCB_ACCESS_TOKEN": LIKE_AN_APPSECRET}
    words = ["--token-file", str(tmp_path / "token")] if source == "file" else []

    ended = await run("count", ENV, *words, env=env)

    assert (ended.code, is_one_sentence(ended.err)) == (3, True)
    assert "looks like an appsecret" in ended.err
    assert "TCB_APPID and TCB_SECRET" in ended.err
    assert LIKE_AN_APPSECRET[:8] not in ended.err


PROXY = "http://127.0.0.1:9"


@pytest.mark.parametrize("variables", [{"HTTPS_PROXY": PROXY}, {}])
@pytest.mark.parametrize("words", [[], ["--trust-env"]])
async def test_client_without_a_proxy_says_so(variables, words):
    env = {"TCB_BASE_URL": "https://wechat.invalid", "TCB_ACCESS_TOKEN": "token", **variables}

    ended = await run("count", ENV, *words, env=env)

    assert ended.code == 5
    assert is_one_sentence(ended.err)
    assert ("this client uses no proxy: trust_env=True" in ended.err) is not bool(words)


async def test_with_trust_env_the_proxy_is_used(emulator):
    emulator.deploy(ENV, count=2)
    env = {
        "TCB_BASE_URL": "http://wechat.invalid",
        "TCB_ACCESS_TOKEN": emulator.token,
        "HTTP_PROXY": emulator.url,
    }

    ended = await run("count", ENV, "--trust-env", "--allow-http", env=env)

    assert (ended.code, ended.out) == (0, "2\n")


@pytest.mark.slow
async def test_a_terminal_without_credentials_is_asked_for_no_token():
    async with Screen.of(200) as screen:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), screen.tty)
        async with start("count", ENV, **streams) as command:
            await screen.shows("no access token: set TCB_ACCESS_TOKEN, or TCB_APPID and")
            assert (await command.end()).code == 3


@pytest.mark.slow
async def test_a_typed_token_is_not_shown(emulator):
    emulator.deploy(ENV, count=3)
    words = ("count", ENV, "--token-file", "-")

    async with Screen.of(80) as screen:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), screen.tty)
        async with start(*words, env={"TCB_BASE_URL": emulator.url}, **streams) as command:
            await screen.shows("Access token")
            await eventually(lambda: not screen.is_echoing, seconds=20)
            screen.type(f"{emulator.token}\n")
            ended = await command.end()
            await screen.shows("3\r\n")

    assert ended.code == 0
    assert emulator.token[:8] not in screen.shown


@pytest.mark.slow
async def test_ssl_cert_file_names_the_trusted_certificates():
    emulator = Emulator()
    emulator.deploy(ENV, count=3)
    async with over_tls(emulator) as port:
        env = {"TCB_BASE_URL": f"https://127.0.0.1:{port}", "TCB_ACCESS_TOKEN": emulator.token}
        for trusted, out in ((CERTIFICATES / "ca.pem", "3\n"), (CERTIFICATES / "expired.pem", "")):
            async with start("count", ENV, env=env | {"SSL_CERT_FILE": str(trusted)}) as command:
                assert (await command.end()).out == out
