-- capsul: no transaction
DROP INDEX CONCURRENTLY addresses_address6_once;
ALTER TABLE addresses DROP COLUMN address6, DROP COLUMN reserved, DROP COLUMN usable_from;
DROP TABLE pools;
