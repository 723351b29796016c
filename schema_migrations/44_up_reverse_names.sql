-- Reverse DNS: the names of addresses of VMs, and whether the DNS server has them.
CREATE TABLE reverse_names (
    address       inet PRIMARY KEY,
    -- Null: it is no VM's any more, and the server is to forget the name.
    vm            text REFERENCES vms,
    -- Empty: the server is to have none.
    name          text NOT NULL,
    -- What the server was last known to have; null: that is not known, and it is to be told.
    published     text,
    -- When it is told next: at once, after a failure, or to put right what has changed there.
    next_try      timestamptz NOT NULL DEFAULT '-infinity',
    tries         integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    problem       text NOT NULL DEFAULT '',
    CONSTRAINT reverse_names_single CHECK (masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END),
    CONSTRAINT reverse_names_name_is_dns CHECK (name = '' OR length(name) <= 253
        AND name ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT reverse_names_of_somebody CHECK (vm IS NOT NULL OR name = ''),
    CHECK ((failing_since IS NULL) = (problem = ''))
);
CREATE INDEX reverse_names_due ON reverse_names (next_try);
CREATE INDEX reverse_names_vm ON reverse_names (vm);

-- Only the VM that has an address gives it a name. The address is locked, so that it is not freed meanwhile.
CREATE FUNCTION check_reverse_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM addresses a WHERE a.vm = NEW.vm AND NEW.address IN (a.address, a.address6) FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not an address of %', NEW.address, NEW.vm
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reverse_names_of_vm';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reverse_names_of_vm BEFORE INSERT OR UPDATE OF address, vm ON reverse_names
    FOR EACH ROW WHEN (NEW.vm IS NOT NULL) EXECUTE FUNCTION check_reverse_name();

-- An address that a VM no longer has loses the VM's name, however it went.
CREATE FUNCTION forget_reverse_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE reverse_names SET vm = NULL, name = '', published = NULL, next_try = '-infinity', tries = 0,
        failing_since = NULL, problem = ''
    WHERE vm = OLD.vm AND address IN (OLD.address, OLD.address6);
    RETURN NULL;
END $$;
CREATE TRIGGER addresses_forget_reverse_name AFTER UPDATE ON addresses FOR EACH ROW
    WHEN (OLD.vm IS NOT NULL AND (OLD.vm IS DISTINCT FROM NEW.vm OR OLD.address IS DISTINCT FROM NEW.address
        OR OLD.address6 IS DISTINCT FROM NEW.address6))
    EXECUTE FUNCTION forget_reverse_name();
CREATE TRIGGER addresses_forget_reverse_name_of_none AFTER DELETE ON addresses FOR EACH ROW
    WHEN (OLD.vm IS NOT NULL) EXECUTE FUNCTION forget_reverse_name();
