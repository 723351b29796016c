-- Names under CAPSUL_VM_DOMAIN at which a web server of a VM is reached.
CREATE TABLE sites (
    name    text PRIMARY KEY CONSTRAINT sites_name_is_label CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    vm      text NOT NULL REFERENCES vms ON DELETE CASCADE,
    vm_port integer NOT NULL CHECK (vm_port BETWEEN 1 AND 65535),
    added   timestamptz NOT NULL
);
CREATE INDEX sites_vm ON sites (vm);

-- A VM that is gone has no ports and no names, however it went.
CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    DELETE FROM sites WHERE vm = NEW.id;
    RETURN NULL;
END $$;
