-- capsul: no transaction
-- Address pools: the networks from which a host's VMs get their addresses, one of each family.

CREATE TABLE pools (
    host              text NOT NULL REFERENCES hosts ON UPDATE CASCADE,
    family            smallint NOT NULL CHECK (family IN (4, 6)),
    -- private: translated on the way out. public: reached from outside as they are.
    kind              text NOT NULL DEFAULT 'private' CHECK (kind IN ('private', 'public')),
    network           cidr NOT NULL,
    gateway           inet NOT NULL,
    -- IPv4: what VMs may have. An IPv6 address follows from the VM's hardware address.
    first             inet,
    last              inet,
    -- How long an address is not used again after its VM is gone.
    cool_down_seconds integer NOT NULL DEFAULT 0 CHECK (cool_down_seconds BETWEEN 0 AND 31536000),
    PRIMARY KEY (host, family),
    CHECK (family(network) = family AND family(gateway) = family AND gateway << network),
    CHECK ((family = 4) = (first IS NOT NULL) AND (family = 4) = (last IS NOT NULL)),
    CHECK (first << network AND last << network AND first <= last)
);

-- The ranges that hosts have reported so far: without the gateway before them, and the placeholder after them.
INSERT INTO pools (host, family, network, gateway, first, last)
    SELECT host, 4, inet_merge(min(address) - 1, max(address) + 1), min(address) - 1, min(address), max(address)
    FROM addresses GROUP BY host
    ON CONFLICT DO NOTHING;

-- The IPv6 address of the same VM, from the host's pool of that family.
ALTER TABLE addresses ADD COLUMN address6 inet;
ALTER TABLE addresses ADD CONSTRAINT addresses_address6_is_ipv6 CHECK (family(address6) = 6) NOT VALID;
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_address6_is_ipv6;
-- Why no VM may have it; empty: one may.
ALTER TABLE addresses ADD COLUMN reserved text NOT NULL DEFAULT '';
-- It cools down until then.
ALTER TABLE addresses ADD COLUMN usable_from timestamptz;
CREATE UNIQUE INDEX CONCURRENTLY addresses_address6_once ON addresses (host, address6);
