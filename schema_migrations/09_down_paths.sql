-- capsul: no transaction
DROP INDEX CONCURRENTLY hosts_room;
CREATE INDEX CONCURRENTLY vms_email ON vms (email);
DROP INDEX CONCURRENTLY vms_email_created;
DROP INDEX CONCURRENTLY vms_failed;
DROP INDEX CONCURRENTLY vms_alive_price;
DROP INDEX CONCURRENTLY vms_alive_created;
CREATE INDEX CONCURRENTLY vms_host_alive ON vms (host) WHERE deleted IS NULL;
DROP INDEX CONCURRENTLY vms_of_host;
DROP INDEX CONCURRENTLY vms_wanted;
DROP INDEX CONCURRENTLY sessions_expires;
CREATE INDEX CONCURRENTLY payments_email ON payments (email);
DROP INDEX CONCURRENTLY payments_email_id;
CREATE INDEX CONCURRENTLY usage_spans_email ON usage_spans (email);
DROP INDEX CONCURRENTLY usage_spans_vm_end;
DROP INDEX CONCURRENTLY usage_spans_email_end;
