-- capsul: no transaction
-- Indexes with which a statement reads what it returns, however long the history is. Each replaces or joins one that
-- led to all rows of an account, a VM or a host.

-- Spans that are not over at a time: none of an account's closed ones; for a VM the open one.
CREATE INDEX CONCURRENTLY usage_spans_email_end ON usage_spans (email, (coalesce(upper(span), lower(span))));
CREATE INDEX CONCURRENTLY usage_spans_vm_end ON usage_spans (vm, (coalesce(upper(span), 'infinity'::timestamptz)));
DROP INDEX CONCURRENTLY usage_spans_email;

CREATE INDEX CONCURRENTLY payments_email_id ON payments (email, id);
DROP INDEX CONCURRENTLY payments_email;

-- Sessions to be deleted.
CREATE INDEX CONCURRENTLY sessions_expires ON sessions (expires);

-- What a host is to be told: without the VMs of which nothing is left.
CREATE INDEX CONCURRENTLY vms_wanted ON vms (host, wanted_generation, id)
    WHERE NOT (wanted = 'gone' AND observed = 'gone' AND observed_generation >= wanted_generation);
-- How many of an account's VMs are on a host.
CREATE INDEX CONCURRENTLY vms_of_host ON vms (host, email) WHERE deleted IS NULL;
DROP INDEX CONCURRENTLY vms_host_alive;

-- The lists of an account's VMs: those that exist in each order, all of them, and those that failed lately.
CREATE INDEX CONCURRENTLY vms_alive_created ON vms (email, created, id) WHERE deleted IS NULL;
CREATE INDEX CONCURRENTLY vms_alive_price ON vms (email, dollars_per_month, id) WHERE deleted IS NULL;
CREATE INDEX CONCURRENTLY vms_failed ON vms (email, deleted) WHERE state = 'failed';
CREATE INDEX CONCURRENTLY vms_email_created ON vms (email, created, id);
DROP INDEX CONCURRENTLY vms_email;

-- Hosts that take VMs, by free memory.
CREATE INDEX CONCURRENTLY hosts_room ON hosts ((memory_mb - memory_used_mb), id)
    WHERE state = 'joined' AND accepts AND online;
