DELETE FROM ports WHERE protocol = 'udp';
DROP INDEX ports_of_host_once;
ALTER TABLE ports DROP CONSTRAINT ports_pkey, DROP CONSTRAINT ports_hub_carries_tcp, DROP COLUMN protocol,
    ADD PRIMARY KEY (vm, via, vm_port);
CREATE UNIQUE INDEX ports_of_host_once ON ports (host, port) WHERE host IS NOT NULL;
ALTER TABLE hosts DROP COLUMN forwards_udp;
