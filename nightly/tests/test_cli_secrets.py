"""No local variable of a command contains a secret, at any line: no traceback can show one."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import attrs
import pytest
from constants import APPID, APPSECRET, PLATFORM
from merchants import Platform
from redis_server import running_redis

SCRIPT = Path(__file__).parent / "traced_command.py"
PASSWORD = "planted-password-0123456789"


@pytest.fixture(scope="module")
def redis_url():
    with running_redis("--user", "planted", "on", f">{PASSWORD}", "~*", "+@all") as server:
        yield server.url.replace("//", f"//planted:{PASSWORD}@")


@attrs.frozen
class Setup:
    """A platform with merchants, a folder, and all its secrets."""

    platform: Platform
    folder: Path
    secrets: set[str]

    def record_tokens(self):
        """Record the current refresh tokens."""
        emulator = self.platform.emulator
        self.secrets.update(emulator.refresh_token(PLATFORM, one) for one in self.platform.appids)

    def leaks(self, lines):
        """Return the lines with a secret."""
        return [line for line in lines if any(secret in line for secret in self.secrets)]

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def accounts(self, kind, **more):
        emulator, lines = self.platform.emulator, []
        for appid in self.platform.appids:
            refresh = emulator.refresh_token(PLATFORM, appid)
            # Accounts that share an access token fail.
            token = refresh if kind == "refresh_token" else emulator.issue_token()
            self.secrets.add(token)
            lines.append(json.dumps({"appid": appid, kind: token, **more}) + "\n")
        return self.file("accounts.ndjson", "".join(lines))

    async def run(self, *words, code=0, **env):
        """Run a command, check its exit code, and return all text that it shows."""
        self.record_tokens()
        reprs = self.folder / "reprs"
        variables = {"PATH": "/usr/bin:/bin", "TCB_BASE_URL": self.platform.emulator.url, **env}
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), str(reprs), *words, env=variables,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await program.communicate()
        assert program.returncode == code, said.decode()
        self.record_tokens()
        return [*reprs.read_text(encoding="utf-8").splitlines(), said.decode()]


@pytest.fixture
def setup(emulator, tmp_path):
    emulator.add_app(APPID, APPSECRET)
    emulator.deploy("test-777bb9", count=2)
    platform = Platform(emulator, 2, functions=2)
    secrets = {platform.ticket, APPSECRET, emulator.token, PASSWORD}
    return Setup(platform, tmp_path, secrets)


def of_platform(setup):
    return {"TCB_COMPONENT_APPID": PLATFORM, "TCB_COMPONENT_SECRET": APPSECRET,
            "TCB_COMPONENT_TICKET": setup.platform.ticket}  # fmt: skip


async def test_no_local_variable_of_a_platforms_inventory_is_a_secret(setup, redis_url):
    lines = await setup.run(
        "inventory", "-o", str(setup.folder / "i.sqlite"), "--component-appid", PLATFORM,
        "--secret-file", setup.file("secret", f"{APPSECRET}\n"),
        "--ticket-file", setup.file("ticket", f"{setup.platform.ticket}\n"),
        TCB_REDIS_URL=redis_url,
    )  # fmt: skip
    assert setup.leaks(lines) == []


@pytest.mark.parametrize(
    ("kind", "more", "code"),
    [
        ("access_token", {"envs": ["test-777bb9"]}, 0),
        ("refresh_token", {"unknown": "field"}, 3),
        ("refresh_token", {"envs": 1}, 3),
        ("refresh_token", {"access_token": "two"}, 3),
    ],
)
async def test_no_local_variable_shows_a_bad_line(setup, kind, more, code):
    accounts = setup.accounts(kind, **more)
    words = ("-o", str(setup.folder / "i.sqlite"), "--accounts", accounts)
    lines = await setup.run("inventory", *words, code=code, **of_platform(setup))
    assert ("line 1: " in lines[-1]) == (code == 3)
    assert setup.leaks(lines) == []


@pytest.mark.parametrize(
    "command",
    ["list", "count", "environments", "token"],
)
async def test_no_local_variable_of_other_commands_is_a_secret(setup, command, redis_url):
    words = [command, *["test-777bb9"] * (command != "environments")]
    token = setup.platform.emulator.token
    lines = await setup.run(*words, TCB_ACCESS_TOKEN=token)
    lines += await setup.run(*words, "--token-file", setup.file("token", token))
    env = {"TCB_APPID": APPID, "TCB_SECRET": APPSECRET, "TCB_REDIS_URL": redis_url}
    lines += await setup.run(*words, **env)
    assert setup.leaks(lines) == []


async def test_no_local_variable_of_merchants_is_a_secret(setup):
    lines = await setup.run("merchants", **of_platform(setup))
    assert setup.leaks(lines) == []


async def test_the_trace_shows_other_values(setup):
    setup.secrets.add(setup.platform.emulator.url)
    lines = await setup.run("token", TCB_ACCESS_TOKEN=setup.platform.emulator.token)
    assert setup.leaks(lines) != []
