-- What a table holds was seen; what can be concluded from it is a view.

-- One inventory. planned_at is null until the accounts that it is to list are stored, finished_at
-- until each of them was listed or has failed. accounts is their number when it finished.
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    started_at TEXT NOT NULL,
    planned_at TEXT,
    finished_at TEXT,
    accounts INTEGER
) WITHOUT ROWID;

-- One account in one run. It is waiting until it was listed. environments is a JSON array of their
-- ids: an environment without functions has no row in the table functions.
CREATE TABLE IF NOT EXISTS accounts (
    run TEXT NOT NULL,
    appid TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'complete', 'failed', 'denied')),
    errcode INTEGER,
    rid TEXT,
    message TEXT,
    environments TEXT NOT NULL,
    functions INTEGER NOT NULL,
    finished_at TEXT,
    PRIMARY KEY (run, appid)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS accounts_by_appid ON accounts (appid, status, run);

-- One function as it was from first_seen_run to last_seen_run. One that changed, or came back, has a
-- row for each time.
CREATE TABLE IF NOT EXISTS functions (
    appid TEXT NOT NULL,
    env TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    runtime TEXT,
    add_time TEXT,
    mod_time TEXT,
    first_seen_run TEXT NOT NULL,
    last_seen_run TEXT NOT NULL,
    PRIMARY KEY (appid, env, name, first_seen_run)
) WITHOUT ROWID;

-- Every function of every account, from the last run that listed the account completely. stale is 1
-- if a newer run did not. An account that a newer, finished run did not meet has left, and is not
-- shown.
CREATE VIEW IF NOT EXISTS current AS
WITH latest AS (
    SELECT appid, max(run) AS visited, max(run) FILTER (WHERE status = 'complete') AS complete
    FROM accounts
    WHERE status != 'waiting'
    GROUP BY appid
)
SELECT
    appid, env, name, status, runtime, add_time, mod_time, first_seen_run, last_seen_run,
    visited > complete AS stale
FROM functions JOIN latest USING (appid)
WHERE last_seen_run = complete
    AND NOT EXISTS (SELECT 1 FROM runs WHERE run > visited AND finished_at IS NOT NULL);

-- What was added, removed and updated between the last two finished runs, of accounts that did not
-- fail in either.
CREATE VIEW IF NOT EXISTS changes AS
WITH pair AS (  -- of one run and itself, if it is the first
    SELECT min(run) AS old, max(run) AS new
    FROM (SELECT run FROM runs WHERE finished_at IS NOT NULL ORDER BY run DESC LIMIT 2)
),
seen AS (
    SELECT run, functions.* FROM pair
    JOIN accounts ON run IN (old, new)
    JOIN functions USING (appid)
    WHERE run BETWEEN first_seen_run AND last_seen_run AND appid NOT IN (
        SELECT appid FROM accounts, pair WHERE run IN (old, new) AND status != 'complete'
    )
),
was AS (SELECT seen.* FROM pair JOIN seen ON run = old),
now AS (SELECT seen.* FROM pair JOIN seen ON run = new)
SELECT
    appid, env, name, CASE WHEN now.name IS NULL THEN 'removed' ELSE 'updated' END AS change,
    was.status AS old_status, now.status AS new_status,
    was.runtime AS old_runtime, now.runtime AS new_runtime,
    was.mod_time AS old_mod_time, now.mod_time AS new_mod_time
FROM was LEFT JOIN now USING (appid, env, name)
WHERE now.name IS NULL
    OR (was.status, was.runtime, was.add_time, was.mod_time)
    IS NOT (now.status, now.runtime, now.add_time, now.mod_time)
UNION ALL
SELECT
    appid, env, name, 'added',
    NULL, now.status, NULL, now.runtime, NULL, now.mod_time
FROM now LEFT JOIN was USING (appid, env, name)
WHERE was.name IS NULL;

-- Accounts of the last finished run before a run which that run has not met, or not yet.
CREATE VIEW IF NOT EXISTS unmet AS
SELECT runs.run, appid FROM runs JOIN accounts AS before ON before.run = (
    SELECT max(run) FROM runs AS earlier WHERE run < runs.run AND finished_at IS NOT NULL
)
WHERE NOT EXISTS (
    SELECT 1 FROM accounts AS here WHERE here.run = runs.run AND here.appid = before.appid
);

-- Accounts that each run has not completely, and why. Until a run has stored its accounts, those of
-- the last finished run that it has not met are waiting too.
CREATE VIEW IF NOT EXISTS incomplete AS
SELECT run, appid, status, errcode, rid, coalesce(message, 'not listed yet') AS message, finished_at
FROM accounts
WHERE status != 'complete'
UNION ALL
SELECT run, appid, 'waiting', NULL, NULL, 'not listed yet', NULL
FROM unmet JOIN runs USING (run)
WHERE planned_at IS NULL AND finished_at IS NULL;

-- Accounts that the newest run has not completely, and why.
CREATE VIEW IF NOT EXISTS missing AS
SELECT * FROM incomplete WHERE run = (SELECT max(run) FROM runs);

-- How far each run is. left: accounts that it has not met.
CREATE VIEW IF NOT EXISTS progress AS
SELECT
    run,
    runs.finished_at IS NOT NULL AS is_finished,
    count(*) FILTER (WHERE status != 'waiting') AS accounts,
    count(*) FILTER (WHERE status = 'complete') AS complete,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'denied') AS denied,
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    coalesce(sum(json_array_length(environments)), 0) AS environments,
    coalesce(sum(functions), 0) AS functions,
    (SELECT count(*) FROM unmet WHERE unmet.run = runs.run) AS left
FROM runs LEFT JOIN accounts USING (run)
GROUP BY run;

-- Rows that were saved and are gone: the file is damaged. Functions of an account, accounts of a
-- finished run, or a run whose accounts are there.
CREATE VIEW IF NOT EXISTS lost AS
SELECT appid, run FROM (
    SELECT appid, max(run) AS run, functions FROM accounts WHERE status = 'complete' GROUP BY appid
) AS latest
WHERE functions != (
    SELECT count(*) FROM functions WHERE appid = latest.appid AND last_seen_run = latest.run
)
UNION ALL
SELECT NULL, run FROM runs
WHERE accounts > (SELECT count(*) FROM accounts WHERE accounts.run = runs.run)
UNION ALL
SELECT NULL, newest FROM (SELECT max(run) AS newest FROM accounts)
WHERE newest > coalesce((SELECT max(run) FROM runs), '');
