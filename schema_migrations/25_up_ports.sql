-- TCP ports of VMs that are reached from outside.

-- The ports of the host for that, as its Spoke reports them; null: none.
ALTER TABLE hosts ADD COLUMN forward_first integer, ADD COLUMN forward_last integer;

CREATE TABLE ports (
    vm        text NOT NULL REFERENCES vms ON DELETE CASCADE,
    vm_port   integer NOT NULL CHECK (vm_port BETWEEN 1 AND 65535),
    -- host: a port of the VM's host leads to it. hub: one of the Hub, and then a stream to the host.
    via       text NOT NULL CHECK (via IN ('host', 'hub')),
    -- Whose port it is; null: the Hub's.
    host      text REFERENCES hosts ON UPDATE CASCADE,
    port      integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    opened    timestamptz NOT NULL,
    -- Through the Hub: what people sent, and what the VM sent.
    bytes_in  bigint NOT NULL DEFAULT 0,
    bytes_out bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (vm, via, vm_port),
    CONSTRAINT ports_host_has_name CHECK ((via = 'host') = (host IS NOT NULL))
);
CREATE UNIQUE INDEX ports_of_host_once ON ports (host, port) WHERE host IS NOT NULL;
CREATE UNIQUE INDEX ports_of_hub_once ON ports (port) WHERE host IS NULL;

-- A VM that is gone has no ports, however it went.
CREATE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER vms_close_ports AFTER UPDATE OF deleted ON vms
    FOR EACH ROW WHEN (NEW.deleted IS NOT NULL AND OLD.deleted IS NULL) EXECUTE FUNCTION close_ports();
