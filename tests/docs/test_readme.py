"""The programs of README, each alone in an empty folder."""

import re
import sys
from pathlib import Path

import pytest
from constants import APPID, ENV
from doc_examples import SECRET, ran

from tcb_async.emulator import Emulator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
ASK_THE_SERVICE = f"""
from fastapi.testclient import TestClient
from service import app
with TestClient(app) as service:
    print(service.get("/count", params={{"env": "{ENV}"}}).text)
"""


@pytest.fixture(autouse=True)
def _account(tmp_path, monkeypatch):
    """An account of an emulator in place of WeChat."""
    with Emulator() as wechat:
        wechat.add_app(APPID, SECRET)
        wechat.deploy(ENV, count=48)
        settings = {"TCB_APPID": APPID, "TCB_SECRET": SECRET, "TCB_BASE_URL": wechat.url}
        for name, setting in settings.items():
            monkeypatch.setenv(name, setting)
        monkeypatch.chdir(tmp_path)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "words", "printed"),
    [
        ("first.py", "Emulator.demo()", ["first.py"], "(.+\n){48}"),
        ("listing.py", "from_env()", ["listing.py"], "(.+\n){48}"),
        ("service.py", "FastAPI(", ["-c", ASK_THE_SERVICE], "48\n"),
        ("test_count.py", "def test_", ["-m", "pytest", "test_count.py"], "(?s).* 1 passed.*"),
    ],
)
def test_each_program_works_alone(name, text, words, printed):
    (program,) = (program for program in PROGRAMS if text in program)
    Path(name).write_text(program, encoding="utf-8")

    assert re.fullmatch(printed, ran(sys.executable, *words))
