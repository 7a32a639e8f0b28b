-- The tables contain observations; the views contain conclusions. The file has views for other
-- programs; this one makes temporary ones on each connection, so that an older file has them too.

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

-- One account in one run. It is waiting until it was listed. requested is its definition: a JSON
-- array of environment ids, or null for all. environments is a JSON array of those that were listed:
-- an environment without functions has no row in the table functions. unavailable is a JSON object
-- of those that WeChat refused to list, with their status.
CREATE TABLE IF NOT EXISTS accounts (
    run TEXT NOT NULL,
    appid TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'complete', 'failed', 'denied')),
    errcode INTEGER,
    rid TEXT,
    message TEXT,
    requested TEXT,
    environments TEXT NOT NULL DEFAULT '[]',
    unavailable TEXT NOT NULL DEFAULT '{}',
    functions INTEGER NOT NULL DEFAULT 0,
    finished_at TEXT,
    PRIMARY KEY (run, appid)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS accounts_by_appid ON accounts (appid, status, run);

-- One function as it was from first_seen_run to last_seen_run. A function that changed, or was
-- deleted and deployed again, has several rows. The key begins with the last run, so that the rows
-- of older runs are not read: they may be many more. A field that is younger than this table is
-- added as its last column; it is null until a run that knows it completes the row.
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
    PRIMARY KEY (appid, last_seen_run, env, name)
) WITHOUT ROWID;

-- Every function of every account, from the last run that listed the account completely. stale is 1
-- if a later run did not. An account is not shown after a later run has finished without it.
CREATE VIEW IF NOT EXISTS current AS
WITH latest AS (
    SELECT
        appid, max(run) AS planned,
        max(run) FILTER (WHERE status != 'waiting') AS visited,
        max(run) FILTER (WHERE status = 'complete') AS complete
    FROM accounts
    GROUP BY appid
)
SELECT functions.*, visited > complete AS stale
FROM functions JOIN latest USING (appid)
WHERE last_seen_run = complete
    AND NOT EXISTS (SELECT 1 FROM runs WHERE run > planned AND finished_at IS NOT NULL);

-- Accounts of the last finished run before a run that are not in this run (yet).
CREATE VIEW IF NOT EXISTS departed AS
SELECT runs.run, appid FROM runs JOIN accounts AS before ON before.run = (
    SELECT max(run) FROM runs AS earlier WHERE run < runs.run AND finished_at IS NOT NULL
)
WHERE NOT EXISTS (
    SELECT 1 FROM accounts AS here WHERE here.run = runs.run AND here.appid = before.appid
);

-- Accounts that each run could not list completely, and why. Until a run has stored its accounts,
-- those of the last finished run are waiting too.
CREATE VIEW IF NOT EXISTS incomplete AS
SELECT run, appid, status, errcode, rid, coalesce(message, 'not listed yet') AS message, finished_at
FROM (
    SELECT run, appid, status, errcode, rid, message, finished_at FROM accounts
    UNION ALL
    SELECT run, appid, 'waiting', NULL, NULL, NULL, NULL FROM departed JOIN runs USING (run)
    WHERE planned_at IS NULL AND runs.finished_at IS NULL
)
WHERE status != 'complete';

-- Accounts that the latest run could not list completely, and why.
CREATE VIEW IF NOT EXISTS missing AS
SELECT * FROM incomplete WHERE run = (SELECT max(run) FROM runs);

-- Environments that WeChat refused to list in each run, with the status that it reports for them.
CREATE VIEW IF NOT EXISTS unavailable AS
SELECT run, appid, key AS env, value AS status
FROM accounts JOIN json_each(accounts.unavailable);

-- The state of each run. departed: accounts of the run before it that are not in it.
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
    (SELECT count(*) FROM unavailable WHERE unavailable.run = runs.run) AS unavailable,
    coalesce(sum(functions), 0) AS functions,
    (SELECT count(*) FROM departed WHERE departed.run = runs.run) AS departed
FROM runs LEFT JOIN accounts USING (run)
GROUP BY run;

-- Rows that were saved and no longer exist, so the file is damaged: functions of an account, accounts
-- of a finished run, or a run that still has accounts.
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
SELECT appid, run FROM accounts WHERE run NOT IN (SELECT run FROM runs);
