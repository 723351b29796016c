-- capsul: no transaction
-- The key of a payment that an event is about, if it is one of ours that the database does not have: a backup was
-- restored that is older than the payment. It is removed when somebody has compared the provider with the database.
ALTER TABLE provider_events ADD COLUMN unknown_key text;
ALTER TABLE provider_events ADD CONSTRAINT provider_events_unknown_has_no_payment
    CHECK (unknown_key IS NULL OR payment IS NULL) NOT VALID;
ALTER TABLE provider_events VALIDATE CONSTRAINT provider_events_unknown_has_no_payment;
CREATE INDEX CONCURRENTLY provider_events_unknown ON provider_events (unknown_key) WHERE unknown_key IS NOT NULL;

-- Refunds that a provider did not make.
CREATE INDEX CONCURRENTLY provider_refunds_refused ON provider_refunds (created) WHERE status = 'refused';
