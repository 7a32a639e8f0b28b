"""The chores. `nox` runs what CI runs; `nox --list` shows the rest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "lowest", "full", "docs", "build"]
nox.options.error_on_missing_interpreters = False


def starts(version: str) -> bool:
    """Whether a Python starts: a shim of pyenv may be on the path, and start nothing."""
    command = ["env", f"python{version}", "-c", ""]
    return not subprocess.call(command, stderr=subprocess.DEVNULL)  # noqa: S603 - our own words


PYTHONS = ["3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]
NEWEST = next(filter(starts, reversed(PYTHONS)), OLDEST)
# `python -m pytest` would test what lies here, not what is installed.
# In the order of the files: chance must not decide whether a change lands.
PYTEST = ("pytest", "-n", "4", "-p", "no:randomly")
COMPILE = ("uv", "pip", "compile", "-q", "pyproject.toml", "--all-extras")
PIN = (
    *("--universal", "--python-version", OLDEST, "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url"),
)


def install(session: nox.Session, *, wheel: bool = False) -> None:
    """Install the pinned environment, then the package: built, or as it lies here."""
    session.install("--require-hashes", "-r", "constraints.txt")
    if wheel:
        dist = Path(session.virtualenv.location) / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        session.run("python", "-m", "build", "--wheel", "--outdir", str(dist), silent=True)
        session.install("--no-deps", "--force-reinstall", *map(str, dist.glob("*.whl")))
    else:
        session.install("--no-deps", "-e", ".")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Ruff's opinion of style, and import-linter's of the layers."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """The opinions of mypy (strict) and of pyright (strict)."""
    install(session)
    session.run("mypy")
    session.run("pyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests of the day, against the built wheel."""
    install(session, wheel=True)
    session.run(*PYTEST, *session.posargs)


@nox.session(python=NEWEST)
def full(session: nox.Session) -> None:
    """Every test, the slow ones too, against the built wheel; every branch is counted."""
    install(session, wheel=True)
    session.run(*PYTEST, "--everything", "--cov", *session.posargs)


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """The tests of the day, with the lowest versions that pyproject.toml allows."""
    install(session, wheel=True)
    versions = str(Path(session.virtualenv.location) / "lowest.txt")
    session.run(*COMPILE, "--no-deps", "--resolution", "lowest-direct", "-o", versions)
    # With the tools, so that those whose pinned version does not go with these are replaced.
    session.install("-r", versions, "--group", "dev")
    session.run(*PYTEST, *session.posargs)


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """The documentation, into docs/_build; a dead link is an error."""
    session.install("-c", "constraints.txt", "--group", "docs")
    session.run("zensical", "build", "--clean", "--strict")
    session.log(f"open {Path('docs/_build/index.html').resolve()}")


@nox.session(python=OLDEST)
def reference(session: nox.Session) -> None:
    """Write the reference and the other generated parts of the pages again."""
    install(session)
    session.run("python", "docs/generate")


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, into dist/."""
    install(session)
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """Ratios against other ways to do the same, in one run; see docs/explanation/speed.md."""
    install(session)
    # What nothing else needs: the clients that ours is compared with.
    session.install("azure-core==1.41.0", "openai==3.57.0", "aiobotocore==3.10.0")
    session.run("python", "nightly/benchmarks/run.py", *session.posargs)


@nox.session(python=OLDEST)
def nightly(session: nox.Session) -> None:
    """nightly/tests, and the laws of the walk on 20,000 examples each."""
    install(session)
    tests = session.posargs or ["nightly/tests", "tests/pagination/test_plan.py"]
    env = {"HYPOTHESIS_PROFILE": "nightly"}
    session.run(*PYTEST, "--everything", "--timeout=0", *tests, env=env)


@nox.session(python=OLDEST)
def teeth(session: nox.Session) -> None:
    """Break each rule of the walk on purpose, and count the examples until a law notices."""
    install(session)
    session.run("python", "nightly/teeth.py", *session.posargs)


@nox.session(python=OLDEST)
def mutants(session: nox.Session) -> None:
    """Break 300 places of the package, one at a time, and name those that no test notices."""
    install(session)
    session.run("python", "nightly/mutants.py", *session.posargs)


@nox.session(python=OLDEST)
def fuzz(session: nox.Session) -> None:
    """Two million inputs for the decoder, guided and mutated, and a siege of the emulator."""
    install(session)
    session.run("python", "nightly/fuzz.py", *session.posargs)
    session.install("atheris==3.0.0")  # it has no wheel for every Python that we support
    session.run("python", "nightly/fuzz_atheris.py", "-runs=1000000", "-max_len=4096")


@nox.session(python=OLDEST)
def soak(session: nox.Session) -> None:
    """100,000 requests with a fault in ten; memory flat, nothing lost, nothing left."""
    install(session)
    session.run("python", "nightly/soak.py", *session.posargs)


@nox.session(python=OLDEST)
def exports(session: nox.Session) -> None:
    """Exports of which one or two are started at once and most are killed, 250 times."""
    install(session)
    session.run("python", "nightly/interrupted_exports.py", *session.posargs)


@nox.session(python=OLDEST)
def pin(session: nox.Session) -> None:
    """Write the constraints again: versions and hashes, no addresses; the small file is a part."""
    session.install("uv")
    session.run(*COMPILE, *PIN, "--group", "dev", "--upgrade", "-o", "constraints.txt")
    session.run(
        *(*COMPILE, *PIN, "--group", "test", "-c", "constraints.txt", "-o", "constraints-test.txt")
    )
