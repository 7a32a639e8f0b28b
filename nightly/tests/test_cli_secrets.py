"""No local variable of a command holds a secret, at any line: no traceback of one can show it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import attrs
import pytest
from merchants import Platform
from names import APPID, APPSECRET, PLATFORM
from redis_server import running_redis

SCRIPT = Path(__file__).parent / "traced_command.py"
PASSWORD = "planted-password-0123456789"


@pytest.fixture(scope="module")
def redis_url():
    with running_redis("--user", "planted", "on", f">{PASSWORD}", "~*", "+@all") as server:
        yield server.url.replace("//", f"//planted:{PASSWORD}@")


@attrs.frozen
class Desk:
    """A platform with merchants, a folder, and all that is secret there."""

    platform: Platform
    folder: Path
    secrets: set[str]

    def note_tokens(self):
        """Take note of the refresh tokens that hold now."""
        emulator = self.platform.emulator
        self.secrets.update(emulator.refresh_token(PLATFORM, one) for one in self.platform.appids)

    def leaks(self, said):
        """The options and files with a secret."""
        return [line for line in said if any(secret in line for secret in self.secrets)]

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def accounts(self, kind, **more):
        emulator, lines = self.platform.emulator, []
        for appid in self.platform.appids:
            refresh = emulator.refresh_token(PLATFORM, appid)
            token = refresh if kind == "refresh_token" else emulator.token
            lines.append(json.dumps({"appid": appid, kind: token, **more}) + "\n")
        return self.file("accounts.ndjson", "".join(lines))

    async def shown(self, *words, code=0, **env):
        """The output of a command, which ends with this code."""
        self.note_tokens()
        place = self.folder / "shown"
        variables = {"PATH": "/usr/bin:/bin", "TCB_BASE_URL": self.platform.emulator.url, **env}
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), str(place), *words, env=variables,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await program.communicate()
        assert program.returncode == code, said.decode()
        self.note_tokens()
        return [*place.read_text(encoding="utf-8").splitlines(), said.decode()]


@pytest.fixture
def desk(emulator, tmp_path):
    emulator.add_app(APPID, APPSECRET)
    emulator.deploy("test-777bb9", count=2)
    platform = Platform(emulator, 2, functions=2)
    secrets = {platform.ticket, APPSECRET, emulator.token, PASSWORD}
    return Desk(platform, tmp_path, secrets)


def of_platform(desk):
    return {"TCB_COMPONENT_APPID": PLATFORM, "TCB_COMPONENT_SECRET": APPSECRET,
            "TCB_COMPONENT_TICKET": desk.platform.ticket}  # fmt: skip


async def test_an_inventory_of_a_platform(desk, redis_url):
    said = await desk.shown(
        "inventory", "-o", str(desk.folder / "i.sqlite"), "--component-appid", PLATFORM,
        "--secret-file", desk.file("secret", f"{APPSECRET}\n"),
        "--ticket-file", desk.file("ticket", f"{desk.platform.ticket}\n"),
        TCB_REDIS_URL=redis_url,
    )  # fmt: skip
    assert desk.leaks(said) == []


@pytest.mark.parametrize(
    ("kind", "more", "code"),
    [
        ("access_token", {"envs": ["test-777bb9"]}, 0),
        ("refresh_token", {"what": "is this"}, 3),
        ("refresh_token", {"envs": 1}, 3),
        ("refresh_token", {"access_token": "two"}, 3),
    ],
)
async def test_an_inventory_of_a_file_with_unusable_lines(desk, kind, more, code):
    accounts = desk.accounts(kind, **more)
    words = ("-o", str(desk.folder / "i.sqlite"), "--accounts", accounts)
    said = await desk.shown("inventory", *words, code=code, **of_platform(desk))
    assert ("line 1: " in said[-1]) == (code == 3)
    assert desk.leaks(said) == []


@pytest.mark.parametrize(
    "command",
    ["list", "count", "environments", "token"],
)
async def test_other_commands_with_a_token_and_with_an_app(desk, command, redis_url):
    words = [command, *["test-777bb9"] * (command != "environments")]
    token = desk.platform.emulator.token
    said = await desk.shown(*words, TCB_ACCESS_TOKEN=token)
    said += await desk.shown(*words, "--token-file", desk.file("token", token))
    env = {"TCB_APPID": APPID, "TCB_SECRET": APPSECRET, "TCB_REDIS_URL": redis_url}
    said += await desk.shown(*words, **env)
    assert desk.leaks(said) == []


async def test_merchants(desk):
    said = await desk.shown("merchants", **of_platform(desk))
    assert desk.leaks(said) == []


async def test_facts_that_are_not_secret_are_shown(desk):
    desk.secrets.add(desk.platform.emulator.url)
    said = await desk.shown("token", TCB_ACCESS_TOKEN=desk.platform.emulator.token)
    assert desk.leaks(said) != []
