-- An older program does not know what is pending, and would send it again.
DO $$ BEGIN
    IF EXISTS (SELECT FROM provider_refunds WHERE status = 'pending') THEN
        RAISE EXCEPTION 'there are refunds that are pending at the provider' USING ERRCODE = 'check_violation',
            HINT = 'Wait until they are done: capsul payment refunds N';
    END IF;
END $$;
CREATE OR REPLACE FUNCTION check_refund_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.payment, NEW.amount, NEW.key) IS DISTINCT FROM (OLD.id, OLD.payment, OLD.amount, OLD.key)
        OR OLD.status IN ('done', 'refused') AND (NEW.status, NEW.sent) IS DISTINCT FROM (OLD.status, OLD.sent)
        OR NEW.reference IS DISTINCT FROM OLD.reference AND OLD.reference IS NOT NULL THEN
        RAISE EXCEPTION 'refund % stays what it is: % of %', OLD.id, OLD.sent, OLD.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_refunds_stay';
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_pending_is_known;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_status_check,
    ADD CONSTRAINT provider_refunds_status_check CHECK (status IN ('open', 'offered', 'done', 'refused')) NOT VALID;
DROP TRIGGER payments_late_turned ON payments;
CREATE TRIGGER payments_late_turned AFTER UPDATE ON payments FOR EACH ROW
    WHEN (NEW.invalidated <> OLD.invalidated AND NEW.provider_payment IS NOT NULL AND is_closed(NEW.email))
    EXECUTE FUNCTION turn_late_payment();
CREATE OR REPLACE FUNCTION turn_late_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payments SET invalidated = NEW.invalidated WHERE offsets = NEW.id AND invalidated <> NEW.invalidated;
    UPDATE account_payouts SET state = CASE WHEN NEW.invalidated THEN 'void' ELSE 'open' END
    WHERE payment = NEW.id AND late AND state = CASE WHEN NEW.invalidated THEN 'open' ELSE 'void' END;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION set_late_payment_aside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM payments p WHERE p.provider_payment = NEW.provider_payment AND p.id <> NEW.id
            AND NOT EXISTS (SELECT FROM payments o WHERE o.offsets = p.id)) THEN
        RETURN NULL;
    END IF;
    INSERT INTO payments (created, email, dollars, method, note, offsets)
    VALUES (NEW.created, NEW.email, -NEW.dollars, 'assigned', 'arrived after the account was closed', NEW.id);
    INSERT INTO account_payouts (closing, payment, amount, state, late, created)
    SELECT c.id, NEW.id, NEW.dollars, 'open', TRUE, NEW.created FROM account_closings c
    WHERE c.email = NEW.email AND c.settled IS NOT NULL;
    RETURN NULL;
END $$;
DROP FUNCTION owe_closed_payment(bigint, timestamptz);
-- The older program has one payout a late payment: of those that were paid, the others stay what they are.
UPDATE account_payouts o SET late = FALSE WHERE o.late AND o.state = 'done' AND EXISTS (
    SELECT FROM account_payouts l WHERE l.payment = o.payment AND l.late AND l.id > o.id);
DROP INDEX account_payouts_late_once;
CREATE UNIQUE INDEX account_payouts_late_once ON account_payouts (payment) WHERE late;
ALTER TABLE provider_payments DROP CONSTRAINT provider_payments_kept_check;
ALTER TABLE provider_payments DROP COLUMN kept;
