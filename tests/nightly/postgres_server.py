"""A Postgres of its own, in a folder of its own.

Rule: it keeps nothing, listens on a Unix socket alone, and never outlives the test. Postgres
refuses to run as root: then it runs as the user of the same name that its package makes.
"""

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


def postgres_programs():
    """The folder of initdb; skips the test on a machine without it."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)  # noqa: PTH207 - no root
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])
    if (initdb := shutil.which("initdb", path=path)) is None:
        pytest.skip("no initdb: apt install postgresql (or: brew install postgresql)")
    return Path(initdb).parent


@contextlib.contextmanager
def running_postgres():
    """Run one while the block lasts; skip the test on a machine without one.

    Yields:
        The environment variables by which its clients find it.
    """
    binaries = postgres_programs()
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: the path of a socket has 107 characters

    def run(program, *arguments):
        subprocess.run(  # noqa: S603 - our own words
            [binaries / program, *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            env={**os.environ, "LC_ALL": "C"},
        )

    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = str(folder / "data")
        settings = [f"-c {setting}" for setting in (*_QUICK, f"unix_socket_directories={folder}")]
        run("initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync")
        log = str(folder / "log")
        run("pg_ctl", "-D", data, "-w", "-l", log, "-o", " ".join(settings), "start")
        try:
            yield {"PGHOST": str(folder), "PGUSER": "test", "PGDATABASE": "postgres"}
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def queue_in(postgres):
    """A pool of connections to a Postgres, with pgqueuer's tables in it."""
    asyncpg, pgqueuer = pytest.importorskip("asyncpg"), pytest.importorskip("pgqueuer")
    async with asyncpg.create_pool(
        host=postgres["PGHOST"], user=postgres["PGUSER"], database=postgres["PGDATABASE"]
    ) as pool:
        await pgqueuer.PgQueuer.from_asyncpg_pool(pool).queries.install()
        yield pool
