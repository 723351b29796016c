-- UDP ports of VMs that are reached from outside.

-- Whether the ports of its host can lead to such.
ALTER TABLE hosts ADD COLUMN forwards_udp boolean NOT NULL DEFAULT FALSE;

-- A port of a host may lead to two VMs: one for each protocol.
ALTER TABLE ports ADD COLUMN protocol text NOT NULL DEFAULT 'tcp' CHECK (protocol IN ('tcp', 'udp')),
    ADD CONSTRAINT ports_hub_carries_tcp CHECK (via = 'host' OR protocol = 'tcp'),
    DROP CONSTRAINT ports_pkey, ADD PRIMARY KEY (vm, via, protocol, vm_port);
DROP INDEX ports_of_host_once;
CREATE UNIQUE INDEX ports_of_host_once ON ports (host, protocol, port) WHERE host IS NOT NULL;
