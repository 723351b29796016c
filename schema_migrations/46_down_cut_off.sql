ALTER TABLE hosts DROP CONSTRAINT hosts_cut_off_has_time;
ALTER TABLE hosts DROP COLUMN cut_off, DROP COLUMN cut_off_since;
