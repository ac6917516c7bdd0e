-- Some hundred thousand rows, joins, indexes, JSON, windows, a sort that does
-- not fit its cache, and full text search. What is printed is the same on every malloc.
.bail on
PRAGMA journal_mode = WAL;
PRAGMA threads = 2;
CREATE TABLE block (id INTEGER PRIMARY KEY, pool INTEGER, size INTEGER, name TEXT, extra TEXT);
BEGIN;
WITH RECURSIVE n(i, x) AS (
    SELECT 1, 12345
    UNION ALL
    SELECT i + 1, (x * 1103515245 + 12345) & 2147483647 FROM n WHERE i < 200000
)
INSERT INTO block
SELECT i, (x >> 8) % 3000, 16 * (1 + (x >> 4) % 32), printf('block-%x-%d', x, i % 97),
       json_object('i', i, 'list', json_array(x % 7, x % 11, hex(x)), 'text', substr('arena pool block', 1 + x % 9))
FROM n;
COMMIT;
CREATE INDEX block_pool ON block (pool, size);
CREATE INDEX block_name ON block (name);
SELECT count(*), sum(size), min(name), max(name), total(length(extra)) FROM block;

CREATE TABLE pool AS
SELECT pool AS id, count(*) AS blocks, sum(size) AS bytes, group_concat(name, ' ') AS names
FROM block GROUP BY pool;
SELECT count(*), max(blocks), sum(length(names)) FROM pool;
SELECT b.size, count(*), sum(p.bytes) FROM block b JOIN pool p ON p.id = b.pool
WHERE p.blocks > 60 GROUP BY b.size ORDER BY 1;

SELECT json_extract(extra, '$.list[2]'), json_array_length(extra, '$.list'), count(*)
FROM block WHERE json_extract(extra, '$.list[0]') = 3 GROUP BY 1, 2 ORDER BY 3 DESC, 1 LIMIT 10;
SELECT pool, size, rank() OVER (PARTITION BY pool ORDER BY size DESC, id) AS r, sum(size) OVER (PARTITION BY pool)
FROM block WHERE pool < 200 ORDER BY r, pool LIMIT 20;
SELECT length(group_concat(name, ',')), count(DISTINCT substr(name, 7, 3)) FROM (SELECT name FROM block ORDER BY name DESC);
SELECT sum(a.size * b.size) FROM block a JOIN block b ON a.pool = b.pool AND a.size < b.size WHERE a.pool < 500;

UPDATE block SET name = upper(name) || hex(randomblob(0)) || replace(extra, 'a', 'bb') WHERE id % 3 = 0;
DELETE FROM block WHERE pool % 5 = 1;
SELECT count(*), sum(length(name)) FROM block;
PRAGMA integrity_check;
VACUUM;
CREATE VIRTUAL TABLE word USING fts5(name, extra);
INSERT INTO word SELECT replace(name, '-', ' '), extra FROM block LIMIT 20000;
SELECT count(*) FROM word WHERE word MATCH 'arena NEAR pool';
SELECT name FROM word WHERE word MATCH 'ren* OR 3f*' ORDER BY rank, rowid LIMIT 5;
.output dump.sql
.dump block
.output stdout
.open copy
.read dump.sql
SELECT count(*), sum(size), sum(length(extra)) FROM block;
