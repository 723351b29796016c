-- Rebuilding a lost database from what the Spokes keep. While one is open, hosts that the database does not know may
-- connect with a certificate of the Hub's authority, and those that came that way get no wanted states.
CREATE TABLE rebuilds (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started  timestamptz NOT NULL,
    finished timestamptz CHECK (finished >= started),
    -- Hosts that are known from before the database was lost.
    expected text[] NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX rebuilds_open_once ON rebuilds ((finished IS NULL)) WHERE finished IS NULL;

CREATE TABLE rebuilt_hosts (
    rebuild bigint NOT NULL REFERENCES rebuilds,
    host    text NOT NULL REFERENCES hosts ON UPDATE CASCADE ON DELETE CASCADE,
    at      timestamptz NOT NULL,
    -- How many of its VMs are in the database again.
    vms     integer NOT NULL CHECK (vms >= 0),
    -- A sentence for each VM that is not, or that has another name.
    notes   text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (rebuild, host)
);
