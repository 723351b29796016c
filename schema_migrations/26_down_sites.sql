CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    RETURN NULL;
END $$;
DROP TABLE sites;
