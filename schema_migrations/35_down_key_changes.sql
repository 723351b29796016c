DROP TABLE key_changes;
ALTER TABLE hosts DROP COLUMN renews_seeds;
