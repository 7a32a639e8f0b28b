"""The recipes, as cron, systemd, a CI job and a shell read them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from constants import LIST
from terminal import ENV, env_for

DOCS = Path(__file__).parents[2] / "docs"
BIN = Path(sys.executable).parent
NIGHT = "inventory nights/{:%Y-%m-%d}.sqlite --accounts accounts.ndjson -q"


def run(words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)  # noqa: S603


def page_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def named_block(page, name):
    (block,) = re.findall(rf"^```\w+\n(# {name}\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    return block


def cron_lines(page):
    """The lines of the crontab by their command, as cron passes them to a shell."""
    lines = re.findall(r"^[\d*/]+ [\d*]+ \* \* \* +(.+)$", page, re.MULTILINE)
    assert not [line for line in lines if re.search(r"(?<!\\)%", line)]  # it would end the command
    lines = [line.replace("\\%", "%") for line in lines]
    return {re.search(r"tcb-async (\w+)|(find)", line)[0].split()[-1]: line for line in lines}


@pytest.fixture(params=["recipes.md", "zh/recipes.md"])
def page(request):
    return page_of(request.param)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "nights").mkdir()
    return tmp_path


class TestNames:
    """The files of the nights, with a command that only records its arguments."""

    @pytest.fixture
    def called(self, home):
        """Run a line of a shell in the folder of the service, and return the command's words."""
        for name in ("tcb-async", "write-accounts"):
            command = home / name
            command.write_text(f'#!/bin/sh\necho "$*" > {home}/called\n')
            command.chmod(0o755)

        def called(words):
            here = [word.replace("/opt/tcb/bin", "/var/lib/tcb") for word in words]
            here = [word.replace("/var/lib/tcb", str(home)) for word in here]
            env = {"PATH": f"{home}:/usr/bin:/bin"}
            assert run(here, env=env, cwd=home).returncode == 0
            return (home / "called").read_text().strip()

        return called

    def test_cron_names_the_night_by_its_date(self, page, called):
        line = cron_lines(page)["inventory"]
        assert called(["/bin/sh", "-c", line]) == NIGHT.format(datetime.now())  # noqa: DTZ005

    def test_systemd_names_the_night_by_its_date(self, page, called):
        (line,) = re.findall(r"^ExecStart=(.+)$", page, re.MULTILINE)
        words = shlex.split(line.replace("%%", "%").replace("$$", "$"))
        assert called(words) == NIGHT.format(datetime.now())  # noqa: DTZ005

    def test_name_of_a_late_night_is_the_same_until_noon(self, page):
        (name,) = re.findall(r"`(nights/\$\(date -d [^`]+)`", page)
        names = set()
        for now in ("2026-01-31 23:30", "2026-02-01 00:30", "2026-02-01 11:30"):
            line = name.replace("12 hours ago", f"{now} 12 hours ago")
            names.add(run(["/bin/sh", "-c", f"echo {line}"]).stdout)
        assert names == {"nights/2026-01-31.sqlite\n"}


def test_old_nights_are_deleted(page, home):
    nights = home / "nights"
    for name, days in {"old.sqlite": 32, "new.sqlite": 29, "old.csv": 32}.items():
        (nights / name).touch()
        time = datetime.now().timestamp() - days * 86_400  # noqa: DTZ005
        os.utime(nights / name, (time, time))
    run(["/bin/sh", "-c", cron_lines(page)["find"].replace("/var/lib/tcb", str(home))])
    assert sorted(path.name for path in nights.iterdir()) == ["new.sqlite", "old.csv"]


def test_systemd_accepts_the_units(page, home):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    units = [f"tcb-inventory.{kind}" for kind in ("service", "timer")]
    for name in units:
        text = named_block(page, name).replace("/var/lib/tcb/write-accounts", "/bin/true")
        (home / name).write_text(text.replace("/var/lib/tcb", str(home)), encoding="utf-8")
    checked = run(["systemd-analyze", "verify", *units], cwd=home)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
class TestCrontab:
    """The lines of the crontab, run against an emulator."""

    @pytest.fixture
    def cron(self, home, tcb_emulator):
        tcb_emulator.deploy(ENV, count=45)
        tcb_emulator.add_app("wx0123456789abcdef", "a-secret")
        settings = "TCB_APPID=wx0123456789abcdef\nTCB_SECRET=a-secret\n"
        (home / "tcb.env").write_text(settings, encoding="utf-8")
        row = {"appid": "wx0123456789abcdef", "access_token": tcb_emulator.token, "envs": [ENV]}
        program = home / "write-accounts"
        program.write_text(f"#!/bin/sh\necho '{json.dumps(row)}' > accounts.ndjson\n")
        program.chmod(0o755)

        def cron(command):
            line = cron_lines(page_of("recipes.md"))[command]
            line = line.replace("/opt/tcb/bin", str(BIN)).replace("/var/lib/tcb", str(home))
            env = {"PATH": "/usr/bin:/bin", "TCB_BASE_URL": tcb_emulator.url}
            return run(["/bin/sh", "-c", line], env=env)

        return cron

    def mailed(self, ended):
        return ended.stdout + ended.stderr

    def test_list_writes_a_file_and_mails_nothing(self, cron, home):
        assert self.mailed(cron("list")) == ""
        assert (home / "functions.csv").read_text().count("\n") == 46

    def test_wait_mails_only_what_failed(self, cron, tcb_emulator):
        assert self.mailed(cron("wait")) == ""
        tcb_emulator.deploy(ENV, "pay", status="UpdateFailed")
        failed = cron("wait")
        assert failed.returncode == 4
        assert "'pay' is UpdateFailed" in self.mailed(failed)

    def test_night_is_listed_compared_and_exported(self, cron, home, tcb_emulator):
        assert self.mailed(cron("inventory")) == ""
        (tonight,) = (home / "nights").iterdir()
        tonight.rename(home / "nights" / "2026-01-31.sqlite")
        tcb_emulator.deploy(ENV, "pay")
        assert self.mailed(cron("inventory")) == ""
        assert "pay" in self.mailed(cron("changes"))
        assert self.mailed(cron("export")) == ""
        assert (home / "functions.of.all.csv").read_text().count("\n") == 47


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [("Active", 0), ("UpdateFailed", 4)])
def test_ci_job_fails_if_a_function_failed(tcb_emulator, home, status, code):
    for name in ("login", "payNotify"):
        tcb_emulator.deploy(ENV, name, status=status)
    (home / "cloudbaserc.json").write_text('{"functions": [{"name": "login"}]}')
    page = page_of("recipes.md")
    commands = re.findall(r"^ +- run: (tcb-async .+)$", page, re.MULTILINE)
    assert len(commands) == 2
    env = env_for(tcb_emulator, PATH=f"{BIN}:/usr/bin:/bin")
    ended = run(["/bin/sh", "-ec", "\n".join(commands)], env=env, cwd=home)
    assert ended.returncode == code, ended.stderr


@pytest.mark.slow
def test_batch_lists_500_environments(tcb_emulator, home):
    envs = [f"env-{number:03}" for number in range(500)]
    for env in envs:
        tcb_emulator.deploy(env, count=3)
    tcb_emulator.fail_next(48001, times=1, path=LIST)
    (home / "batch.py").write_text(named_block(page_of("recipes.md"), "batch.py"), encoding="utf-8")
    (home / "envs.txt").write_text("\n".join(envs), encoding="utf-8")

    env = env_for(tcb_emulator, PATH=os.environ["PATH"])
    ended = run([sys.executable, "batch.py", "envs.txt"], env=env, cwd=home)

    rows = Counter(json.loads(line)["env"] for line in ended.stdout.splitlines())
    *progress, error = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert set(rows.values()) == {3}
    assert len(rows) == 499
    assert [line.split()[0] for line in progress] == [str(each) for each in range(50, 501, 50)]
    assert re.fullmatch(r"env-\d+: .* errcode 48001: .*", error)
    assert tcb_emulator.peak_in_flight <= 8


@pytest.mark.parametrize("name", ["providers.md", "zh/providers.md"])
async def test_clear_quota_is_called_with_the_token_of_the_account(emulator, client, name):
    @emulator.on_reply
    def clear(request, reply):
        if request.path == "/cgi-bin/clear_quota":
            reply.clear()
            reply.update(errcode=0, errmsg="ok")

    (call,) = re.findall(r"`await (client\.with_token\([^`]+)`", page_of(name))
    appid = "wx0123456789abcdef"
    names = {"client": client, "token": emulator.token, "appid": appid}
    assert (await eval(call, names))["errmsg"] == "ok"  # noqa: S307 - our own example
    assert emulator.requests[-1].body == {"appid": appid}
