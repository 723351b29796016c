-- capsul: no transaction
-- VMs that do not have the price of their size yet, and whom to tell of a new one.
CREATE INDEX CONCURRENTLY vms_price_from ON vms (size, price_from) WHERE deleted IS NULL;
