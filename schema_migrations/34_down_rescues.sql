-- A VM that is in rescue is started from its own disk: no Hub of the version before knows of it.
CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    DELETE FROM sites WHERE vm = NEW.id;
    DELETE FROM reinstalls WHERE vm = NEW.id;
    RETURN NULL;
END $$;
DROP TABLE rescues;
ALTER TABLE vms DROP COLUMN observed_rescue;
ALTER TABLE hosts DROP COLUMN rescues;
