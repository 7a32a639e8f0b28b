"""A walk over a table that a real PostgreSQL sorts by a column of few values."""

from __future__ import annotations

from operator import itemgetter

from postgres_server import running_postgres
from programs import needs_package

from tcb_async.pagination import Page, Pager

_QUERY = "SELECT name, status FROM functions ORDER BY status LIMIT $1 OFFSET $2"


async def test_rows_with_equal_sort_keys_are_complete():
    asyncpg = needs_package("asyncpg")
    with running_postgres() as postgres:
        async with asyncpg.create_pool(
            host=postgres["PGHOST"], user=postgres["PGUSER"], database=postgres["PGDATABASE"]
        ) as pool:
            await pool.execute(
                "CREATE TABLE functions AS SELECT 'f' || n AS name, n * 7919 % 6 AS status "
                "FROM generate_series(1, 1000) AS n"
            )

            async def fetch(offset, limit):
                rows = await pool.fetch(_QUERY, limit, offset)
                return Page([dict(row) for row in rows], 1000)

            pager = Pager(fetch, identify=itemgetter("name"), page_size=250)
            names = [row["name"] for row in await pager.collect()]

    assert sorted(names) == sorted(f"f{number}" for number in range(1, 1001))
    assert pager.stats.passes > 1, "the order is not stable"
