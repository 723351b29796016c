-- Why the VMs of a host have no connection to the outside, and since when, as its Spoke says; empty: they have one.
ALTER TABLE hosts ADD COLUMN cut_off text NOT NULL DEFAULT '', ADD COLUMN cut_off_since timestamptz;
ALTER TABLE hosts ADD CONSTRAINT hosts_cut_off_has_time CHECK ((cut_off <> '') = (cut_off_since IS NOT NULL)) NOT VALID;
