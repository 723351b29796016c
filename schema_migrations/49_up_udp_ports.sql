-- UDP ports of VMs that are reached from outside.

-- Whether the ports of its host can lead to such.
ALTER TABLE hosts ADD COLUMN forwards_udp boolean NOT NULL DEFAULT FALSE;

-- A port of a host may lead to two VMs: one for each protocol.
-- lint: accept validates-all because VMs have few ports
-- lint: accept index-locks because VMs have few ports
ALTER TABLE ports ADD COLUMN protocol text NOT NULL DEFAULT 'tcp' CHECK (protocol IN ('tcp', 'udp')),
    ADD CONSTRAINT ports_hub_carries_tcp CHECK (via = 'host' OR protocol = 'tcp'),
    DROP CONSTRAINT ports_pkey, ADD PRIMARY KEY (vm, via, protocol, vm_port);
-- lint: accept index-locks because VMs have few ports
DROP INDEX ports_of_host_once;
-- lint: accept index-locks because VMs have few ports
CREATE UNIQUE INDEX ports_of_host_once ON ports (host, protocol, port) WHERE host IS NOT NULL;
