-- What VMs use: processor time, connections, and traffic by the month.

-- The last report on each VM. Counters are as the Spoke reported them; one that is lower than before has begun again.
CREATE TABLE vm_usage (
    vm                text PRIMARY KEY REFERENCES vms (id),
    at                timestamptz NOT NULL,
    cpu_ms            bigint NOT NULL CONSTRAINT vm_usage_cpu_ms_check CHECK (cpu_ms >= 0),
    received          bigint NOT NULL CONSTRAINT vm_usage_received_check CHECK (received >= 0),
    sent              bigint NOT NULL CONSTRAINT vm_usage_sent_check CHECK (sent >= 0),
    connections       bigint NOT NULL CONSTRAINT vm_usage_connections_check CHECK (connections >= 0),
    -- Of all its CPUs, between the last two reports.
    cpu_percent       integer NOT NULL CONSTRAINT vm_usage_cpu_percent_check CHECK (cpu_percent BETWEEN 0 AND 100),
    -- Since when it has been above the percentage that operators want to hear of; NULL: it is not.
    busy_since        timestamptz,
    -- Connections that it has tried to begin since the hour began.
    hour              timestamptz NOT NULL,
    hour_connections  bigint NOT NULL CONSTRAINT vm_usage_hour_connections_check CHECK (hour_connections >= 0),
    -- The last hour in which they were more than operators want to hear of; NULL: there was none.
    crowded           timestamptz
) WITH (fillfactor = 50);
-- The other columns change with every report, and are in no index.
CREATE INDEX vm_usage_busy ON vm_usage (busy_since) WHERE busy_since IS NOT NULL;
CREATE INDEX vm_usage_crowded ON vm_usage (crowded) WHERE crowded IS NOT NULL;

-- Bytes through the network card of a VM, as seen by it, in a month of UTC.
CREATE TABLE vm_traffic (
    vm        text NOT NULL REFERENCES vms (id),
    month     date NOT NULL CONSTRAINT vm_traffic_month_check CHECK (extract(day FROM month) = 1),
    received  bigint NOT NULL CONSTRAINT vm_traffic_received_check CHECK (received >= 0),
    sent      bigint NOT NULL CONSTRAINT vm_traffic_sent_check CHECK (sent >= 0),
    -- When the owner was told that it is more than is meant for a month.
    told      timestamptz,
    PRIMARY KEY (vm, month)
) WITH (fillfactor = 70);

-- How far a counter has come since it was last read.
CREATE FUNCTION counted(before bigint, now bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN now < before THEN now ELSE now - before END
$$;
