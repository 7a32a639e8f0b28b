"""Development tasks: `nox` runs what CI runs, and `nox --list` shows all of them.

A missing Python is an error in CI (with `CI` in the environment), and skips a session elsewhere.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.11.12"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "tests", "lowest", "full", "docs", "build"]

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
OLDEST, WIDESPREAD = PYTHONS[0], "3.13"
# `python -m pytest` would import the checkout instead of the installed wheel. The order is fixed,
# so that CI gives the same result for the same commit.
PYTEST = ("pytest", "-n", "auto", "-p", "no:randomly")
# Many slow tests wait for another process, so more workers than cores are faster.
PYTEST_EVERYTHING = ("pytest", "-n", "4", "-p", "no:randomly", "--everything")
LOCKED = "requirements-dev.txt"
LOCKED_TEST = "requirements-test.txt"
GROUPS = ("--group", "dev")
EVERYTHING = ("-e", ".", "-r", "pyproject.toml", "--all-extras", *GROUPS)
COMPILE = ("uv", "pip", "compile", "--quiet", "pyproject.toml", "--all-extras")

# What docs/examples/fleet.py needs, which the nightly tests run.
QUEUE = ("pgqueuer==1.6.0", "asyncpg==0.32.0")

# Where clients run, for the nightly tests.
SURROUNDINGS = (
    "uvloop==0.23.0", "nest-asyncio==1.6.0", "gunicorn==27.0.1", "uvicorn-worker==0.4.0",
    "celery==5.7.0",
)  # fmt: skip

# What the benchmarks measure with, and the clients that they compare with.
COMPARED = (
    "uvloop==0.23.0", "httpx==0.28.1",
    "azure-core==1.41.0", "openai==3.57.0", "aiobotocore==3.10.0",
)  # fmt: skip

# Those of the publishing action in .github/workflows/release.yml, v1.13.0.
PUBLISHER = ("twine==6.1.0", "packaging==25.0")


def install(session: nox.Session, *requirements: str) -> None:
    """Install the locked versions; without requirements, the package with everything for tests."""
    requirements = requirements or EVERYTHING
    session.install("--constraint", LOCKED, "--build-constraint", LOCKED, *requirements)


def build_in(session: nox.Session, folder: str, *options: str) -> list[str]:
    """Build the distributions with the locked tools; returns their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", folder, *options)
    return [str(path) for path in Path(folder).iterdir()]


def install_wheel(session: nox.Session) -> None:
    """Install the locked versions, and the package as its users get it."""
    install(session)
    wheels = build_in(session, f"{session.virtualenv.location}/dist", "--wheel")
    session.install("--no-deps", "--reinstall", *wheels)


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Style (Ruff), and layers (import-linter)."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """Types: mypy and pyright, both strict; every public type is declared."""
    install(session)
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "tcb_async", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The default run of the tests, against the built wheel."""
    install_wheel(session)
    session.run(*PYTEST, *session.posargs)


@nox.session(python=WIDESPREAD)
def full(session: nox.Session) -> None:
    """All tests including the slow ones, with branch coverage."""
    install_wheel(session)
    session.run(*PYTEST_EVERYTHING, "--cov", *session.posargs)
    # A change by day must not break a night: all its tests can at least be imported.
    session.run("pytest", "--collect-only", "-q", "tests/nightly", silent=True)


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """The default run of the tests, with the lowest versions that `pyproject.toml` allows."""
    install_wheel(session)
    versions = f"{session.virtualenv.location}/lowest.txt"
    session.run(*COMPILE, "--no-deps", "--resolution", "lowest-direct", "-o", versions)
    # With the group, uv replaces tools that do not work with the lowest versions.
    session.install("-r", versions, *GROUPS)
    session.run(*PYTEST, *session.posargs)


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """The documentation, in docs/_build; a dead link is an error."""
    install(session, "--group", "docs")
    session.run("zensical", "build", "--clean", "--strict")
    # The search needs a server: a browser does not load its index from a file.
    session.log("to read it: python -m http.server --directory docs/_build")


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """The wheel and the source distribution, in dist/, checked by what publishes them."""
    install(session, "--group", "build")
    files = build_in(session, "dist")
    session.install(*PUBLISHER)
    session.run("twine", "check", "--strict", *files)


@nox.session(python=OLDEST)
def nightly(session: nox.Session) -> None:
    """`tests/nightly`, and the laws of the walk with 20,000 examples each."""
    install(session)
    session.install(*QUEUE, *SURROUNDINGS)
    tests = session.posargs or [
        "tests/nightly",
        "tests/pagination/test_plan.py",
    ]
    env = {"HYPOTHESIS_PROFILE": "nightly"}
    session.run(*PYTEST_EVERYTHING, "--timeout=0", *tests, env=env)


@nox.session(python=OLDEST)
def mutants(session: nox.Session) -> None:
    """Break 300 places of the package; too many that no test notices are an error."""
    install(session)
    session.run("python", "tests/nightly/mutants.py", *session.posargs)


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """Compare the client with other solutions in one run; see docs/how-it-works.md."""
    install(session)
    session.install(*COMPARED)
    session.run("python", "tests/nightly/benchmarks/run.py", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write the latest versions of all packages: those of the tests, and those of a contributor."""
    session.install("uv")
    plain = ("--no-emit-index-url", "--no-annotate", "--no-header")
    pin = (*COMPILE, "--universal", "--python-version", OLDEST, *plain)
    session.run(*pin, "--upgrade", "--group", "dev", "-o", LOCKED, silent=True)
    same = ("--constraint", LOCKED)
    session.run(*pin, "--group", "test", *same, "--upgrade", "-o", LOCKED_TEST, silent=True)
