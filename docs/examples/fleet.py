"""An inventory of a platform's merchants on several machines, any of which may die.

    pgq install                once: the tables of pgqueuer, https://pgqueuer.readthedocs.io
    python fleet.py merchants  every night: the platform's merchants, as WeChat lists them
    python fleet.py plan       then: a job for each merchant that is not complete in today's run
    python fleet.py work       on every machine, always, under a supervisor that starts it again
    python fleet.py store 2026-01-31.sqlite
                               when the night is over: a file for tcb-async diff and changes

Postgres stores the queue, your merchants and the result. Redis shares the platform's token between
the machines, and stores the ticket that WeChat pushes (see ``ticket_callback.py``). The settings
are environment variables: ``PGHOST``, ``PGUSER`` …, ``TCB_REDIS_URL``, ``TCB_COMPONENT_APPID``,
``TCB_COMPONENT_SECRET``. Install pgqueuer, asyncpg, and this package with the extra ``redis``.

To try it without an account, paste the lines that ``tcb-async emulator --merchants 100`` prints,
and store the ticket before the first command:

    redis-cli set tcb-async:tickets:$TCB_COMPONENT_APPID $TCB_COMPONENT_TICKET
"""

import asyncio
import json
import os
import signal
import sys
from datetime import datetime, timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job
from redis.asyncio import Redis

from tcb_async import (
    Account,
    AccountListing,
    ApiError,
    ClientClosedError,
    CloudFunction,
    TcbClient,
    TcbError,
)
from tcb_async.inventory import Night, NightWriter, list_account
from tcb_async.models import CHINA_STANDARD_TIME
from tcb_async.tokens import AuthorizerToken, ComponentToken, RedisStore, Secret

CONCURRENT_ACCOUNTS = 8  # on all machines together; each has one request in flight
SCHEMA = """
CREATE TABLE IF NOT EXISTS merchants (
    appid text PRIMARY KEY CHECK (appid ~ '^[[:alnum:]_]+$'),  -- the inventory refuses others
    refresh_token text, auth_time timestamptz);
CREATE TABLE IF NOT EXISTS accounts (
    run date, appid text, status text NOT NULL, errcode int, rid text, message text,
    PRIMARY KEY (run, appid));
CREATE TABLE IF NOT EXISTS environments (  -- unavailable: such as HALTED, or null if it was listed
    run date, appid text, env text, unavailable text, PRIMARY KEY (run, appid, env),
    FOREIGN KEY (run, appid) REFERENCES accounts ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS functions (
    run date, appid text, env text, name text, status text NOT NULL, runtime text,
    add_time timestamptz, mod_time timestamptz, PRIMARY KEY (run, appid, env, name),
    FOREIGN KEY (run, appid) REFERENCES accounts ON DELETE CASCADE);
"""


def platform_of(redis: Redis) -> ComponentToken:
    appid = os.environ["TCB_COMPONENT_APPID"]

    async def ticket() -> str:
        saved = await redis.get(f"tcb-async:tickets:{appid}")
        if saved is None:
            raise LookupError("no ticket is stored: WeChat pushes one every ten minutes")
        return saved.decode()

    return ComponentToken(
        appid,
        os.environ["TCB_COMPONENT_SECRET"],
        ticket=ticket,
        store=RedisStore(redis),
    )


async def add_merchants(pool: asyncpg.Pool) -> None:
    """Store the merchants in WeChat's list, and forget the others. Repeating it is harmless."""
    async with (
        Redis.from_url(os.environ["TCB_REDIS_URL"]) as redis,
        TcbClient.from_env(token=platform_of(redis)) as client,
    ):
        merchants = [
            (merchant.authorizer_appid, revealed(merchant.refresh_token), merchant.auth_time)
            async for merchant in client.authorizers()
        ]
    async with pool.acquire() as connection, connection.transaction():
        appids = [appid for appid, *_ in merchants]
        await connection.execute("DELETE FROM merchants WHERE appid <> ALL ($1)", appids)
        # A refresh token in the table may be later than the one in the list, so it stays, unless
        # the merchant has authorised the platform again.
        await connection.executemany(
            "INSERT INTO merchants VALUES ($1, $2, $3) ON CONFLICT (appid) DO UPDATE "
            "SET (refresh_token, auth_time) = ROW (excluded.refresh_token, excluded.auth_time) "
            "WHERE merchants.refresh_token IS NULL "
            "OR merchants.auth_time IS DISTINCT FROM excluded.auth_time",
            merchants,
        )
    print(f"{len(merchants)} merchants have authorised the platform")


def revealed(token: Secret | None) -> str | None:
    """WeChat sends no refresh token of a merchant whose authorisation code was never exchanged."""
    return None if token is None else token.reveal()


async def plan(pool: asyncpg.Pool) -> None:
    """Queue each merchant that is not complete in today's run. Repeating it is harmless."""
    run = datetime.now(CHINA_STANDARD_TIME).date()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM accounts WHERE run = $1 AND appid NOT IN (SELECT appid FROM merchants)",
            run,
        )
        # A merchant that no worker lists is missing in the result, not forgotten.
        await connection.execute(
            "INSERT INTO accounts (run, appid, status) SELECT $1, appid, 'waiting' FROM merchants "
            "ON CONFLICT DO NOTHING",
            run,
        )
        missing = await connection.fetch(
            "SELECT appid FROM accounts WHERE run = $1 AND status <> 'complete'", run
        )
    jobs = [json.dumps({"run": str(run), "appid": appid}) for (appid,) in missing]
    await PgQueuer.from_asyncpg_pool(pool).queries.enqueue(
        ["account"] * len(jobs),
        [job.encode() for job in jobs],
        [0] * len(jobs),
        dedupe_key=jobs,
        on_conflict="skip",
    )
    print(f"{len(jobs)} merchants of the run of {run} are queued")


async def work(pool: asyncpg.Pool) -> int:
    """List merchants from the queue until SIGTERM, and return the exit status."""
    queuer = PgQueuer.from_asyncpg_pool(pool)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queuer.shutdown.set)
    refused: list[TcbError] = []
    async with Redis.from_url(os.environ["TCB_REDIS_URL"]) as redis:
        platform = platform_of(redis)
        async with TcbClient.from_env(token=platform, concurrency=CONCURRENT_ACCOUNTS) as client:

            @queuer.entrypoint("account", concurrency_limit=CONCURRENT_ACCOUNTS, on_failure="hold")
            async def list_one(job: Job) -> None:
                task = json.loads(job.payload)
                run = datetime.fromisoformat(task["run"])
                account = account_of(pool, platform, task["appid"])
                try:
                    await save(pool, run, await list_account(client, account))
                except (ApiError, ClientClosedError) as error:  # no job would succeed
                    refused.append(error)
                    queuer.shutdown.set()
                    raise RetryRequested(delay=timedelta(minutes=1), reason=str(error)) from None
                except Exception as error:  # noqa: BLE001 - only this merchant fails
                    message = f"{type(error).__name__}: {error}"
                    await record(pool, run, account.appid, "failed", None, None, message)

            await queuer.run(
                dequeue_timeout=timedelta(seconds=2), heartbeat_timeout=timedelta(seconds=5)
            )
    for error in refused[:1]:
        print(f"the platform itself is refused: {error}", file=sys.stderr)
    return 1 if refused else 0


def account_of(pool: asyncpg.Pool, platform: ComponentToken, appid: str) -> Account:
    async def load() -> str:
        saved = await pool.fetchval("SELECT refresh_token FROM merchants WHERE appid = $1", appid)
        if saved is None:
            raise LookupError(f"{appid} has no saved refresh token: have it authorise again")
        return saved

    async def store_new(new: str) -> None:
        await pool.execute("UPDATE merchants SET refresh_token = $2 WHERE appid = $1", appid, new)

    return Account(appid, AuthorizerToken(platform, appid, load, on_rotate=store_new))


async def save(pool: asyncpg.Pool, run: datetime, found: AccountListing) -> None:
    """Save a complete account once, even if a second machine has the same job."""
    appid = found.account.appid
    error = found.error
    facts = (error.errcode, error.rid, str(error)) if error else (None, None, None)
    async with pool.acquire() as connection, connection.transaction():
        if await record(connection, run, appid, found.status, *facts):
            await connection.copy_records_to_table(
                "environments",
                records=[
                    *((run, appid, env, None) for env in found.functions),
                    *((run, appid, env, status) for env, status in found.unavailable.items()),
                ],
            )
            await connection.copy_records_to_table(
                "functions",
                records=[
                    (run, appid, env, row.name, row.status, row.runtime, row.add_time, row.mod_time)
                    for env, functions in found.functions.items()
                    for row in functions
                ],
            )


async def record(executor: asyncpg.Pool | asyncpg.Connection, *row: object) -> bool:
    """Record the state of an account, unless it is complete already."""
    return await executor.fetchval(
        "INSERT INTO accounts VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run, appid) "
        "DO UPDATE SET (status, errcode, rid, message) = ROW (excluded.status, "
        "excluded.errcode, excluded.rid, excluded.message) "
        "WHERE accounts.status <> 'complete' RETURNING true",
        *row,
    )


async def store(pool: asyncpg.Pool, path: str) -> None:
    """Write the latest run into the file of a night. Repeating it adds what was missing."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        run = await connection.fetchval("SELECT max(run) FROM accounts")
        rows = await connection.fetch("SELECT * FROM accounts WHERE run = $1 ORDER BY appid", run)
        saved = {row["appid"]: row for row in rows}
        with NightWriter(path) as night:
            for account in night.begin([Account(appid, no_token) for appid in saved]):
                if saved[account.appid]["status"] != "waiting":  # it stays missing
                    night.save(await read(connection, account, saved[account.appid]))
    with Night(path) as night:
        counts = night.read_counts()
    print(f"run {run}: {counts.complete} of {counts.accounts} merchants are complete in {path}")


async def no_token() -> str:
    raise RuntimeError("a stored account is not listed")


async def read(
    connection: asyncpg.Connection, account: Account, saved: asyncpg.Record
) -> AccountListing:
    """Read the listing of an account as `save` has stored it."""
    if saved["status"] != "complete":
        error = ApiError(saved["message"], errcode=saved["errcode"], rid=saved["rid"])
        return AccountListing(account, error=error)
    key = saved["run"], account.appid
    functions: dict[str, list[CloudFunction]] = {}
    unavailable: dict[str, str] = {}
    for row in await connection.fetch(
        "SELECT env, unavailable FROM environments WHERE (run, appid) = ($1, $2)", *key
    ):
        if row["unavailable"] is None:
            functions[row["env"]] = []
        else:
            unavailable[row["env"]] = row["unavailable"]
    for env, *texts, added, modified in await connection.fetch(
        "SELECT env, name, status, runtime, add_time, mod_time FROM functions "
        "WHERE (run, appid) = ($1, $2)",
        *key,
    ):
        times = (time and time.astimezone(CHINA_STANDARD_TIME) for time in (added, modified))
        functions[env].append(CloudFunction(*texts, *times))
    listed = {env: tuple(each) for env, each in functions.items()}
    return AccountListing(account, listed, unavailable=unavailable)


async def main(command: str, *files: str) -> int:
    async with asyncpg.create_pool() as pool:
        await pool.execute(SCHEMA)
        if command == "work":
            return await work(pool)
        match command:
            case "merchants":
                await add_merchants(pool)
            case "plan":
                await plan(pool)
            case _:
                await store(pool, *files)
        return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["merchants"] | ["plan"] | ["work"] | ["store", _]:
            sys.exit(asyncio.run(main(*sys.argv[1:])))
        case _:
            sys.exit("usage: fleet.py merchants | plan | work | store FILE")
