-- What may reach a VM. A VM without rows here is open, as all were before.

-- open: new connections pass, except from VMs of other accounts. closed: only what a rule allows.
CREATE TABLE firewalls (
    vm     text PRIMARY KEY REFERENCES vms ON DELETE CASCADE,
    policy text NOT NULL CHECK (policy IN ('open', 'closed'))
);

CREATE TABLE firewall_rules (
    vm         text NOT NULL REFERENCES vms ON DELETE CASCADE,
    protocol   text NOT NULL CHECK (protocol IN ('tcp', 'udp')),
    first_port integer NOT NULL CHECK (first_port BETWEEN 1 AND 65535),
    last_port  integer NOT NULL CHECK (last_port BETWEEN first_port AND 65535),
    -- Whence; null: anywhere.
    source     cidr
);
CREATE UNIQUE INDEX firewall_rules_once ON firewall_rules (vm, protocol, first_port, last_port, source)
    WHERE source IS NOT NULL;
CREATE UNIQUE INDEX firewall_rules_from_anywhere_once ON firewall_rules (vm, protocol, first_port, last_port)
    WHERE source IS NULL;
-- Both others are partial.
CREATE INDEX firewall_rules_vm ON firewall_rules (vm);

-- When somebody else last removed the packet filter's rules on the host, which its Spoke has put back.
ALTER TABLE hosts ADD COLUMN rules_removed timestamptz;
