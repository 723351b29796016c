-- capsul: no transaction
DROP INDEX CONCURRENTLY provider_refunds_refused;
DROP INDEX CONCURRENTLY provider_events_unknown;
ALTER TABLE provider_events DROP CONSTRAINT provider_events_unknown_has_no_payment;
-- lint: accept drops-data because only alerts were made of it
ALTER TABLE provider_events DROP COLUMN unknown_key;
