-- capsul: no transaction
-- What a closed account is owed follows its payments, whatever changes them: a refund, a dispute, a person by hand. And
-- a refund that was sent may fail afterwards.

-- Of a payment that was there when its account was settled: what of it had been used or given away. NULL: the account is
-- not closed, or the payment came later.
ALTER TABLE provider_payments ADD COLUMN kept numeric;
ALTER TABLE provider_payments ADD CONSTRAINT provider_payments_kept_check CHECK (kept >= 0 AND kept = round(kept, 2))
    NOT VALID;
UPDATE provider_payments p SET kept = round(greatest(0, coalesce(
    (SELECT w.dollars - o.amount FROM payments w JOIN account_payouts o ON o.payment = w.id AND NOT o.late
        WHERE w.provider_payment = p.id ORDER BY o.id LIMIT 1),
    (SELECT w.dollars FROM payments w WHERE w.provider_payment = p.id ORDER BY w.invalidated, w.id DESC LIMIT 1))), 2)
WHERE is_closed(p.email) AND EXISTS (SELECT FROM payments w WHERE w.provider_payment = p.id
    AND NOT EXISTS (SELECT FROM payments o WHERE o.offsets = w.id));

-- What was paid by hand may come again: the payment counts once more, and another payout is owed.
DROP INDEX CONCURRENTLY IF EXISTS account_payouts_late_once;
CREATE UNIQUE INDEX CONCURRENTLY account_payouts_late_once ON account_payouts (payment) WHERE late AND state <> 'done';

-- Makes the payouts of a payment say what is owed of it: what counts, less what was kept. That is one payout: the open
-- one, or one whose refund did not go through, or one that was not owed any more, or a new one.
CREATE FUNCTION owe_closed_payment(of_payment bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counted record;
    owed numeric;
    payout bigint;
BEGIN
    SELECT id, dollars, email INTO counted FROM payments WHERE provider_payment = of_payment AND NOT invalidated;
    owed := coalesce(counted.dollars, 0) - (SELECT kept FROM provider_payments WHERE id = of_payment);
    payout := (SELECT o.id FROM payments p JOIN account_payouts o ON o.payment = p.id
            LEFT JOIN provider_refunds r ON r.id = o.refund
        WHERE p.provider_payment = of_payment AND NOT o.late AND (o.state IN ('open', 'void')
            OR o.state = 'sent' AND r.status IN ('done', 'refused') AND r.sent < r.amount
            OR o.state = 'done' AND r.status = 'refused' AND o.actor = '')
        ORDER BY array_position(ARRAY['open', 'sent', 'done', 'void'], o.state), o.id LIMIT 1);
    IF owed <= 0 THEN
        UPDATE account_payouts SET state = 'void' WHERE id = payout AND state = 'open';
    ELSIF payout IS NOT NULL THEN
        UPDATE account_payouts SET state = 'open', amount = owed, payment = counted.id, done = NULL WHERE id = payout;
    ELSE
        INSERT INTO account_payouts (closing, payment, amount, state, created)
        SELECT c.id, counted.id, owed, 'open', at FROM account_closings c
        WHERE c.email = counted.email AND c.settled IS NOT NULL;
    END IF;
END $$;

-- What arrives by a provider for a closed account waits among what is to be assigned, until an operator sends it back.
-- More of a payment that was there before is owed by the account itself.
CREATE OR REPLACE FUNCTION set_late_payment_aside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM provider_payments WHERE id = NEW.provider_payment AND kept IS NOT NULL) THEN
        PERFORM owe_closed_payment(NEW.provider_payment, NEW.created);
        RETURN NULL;
    END IF;
    INSERT INTO payments (created, email, dollars, method, note, offsets)
    VALUES (NEW.created, NEW.email, -NEW.dollars, 'assigned', 'arrived after the account was closed', NEW.id);
    INSERT INTO account_payouts (closing, payment, amount, state, late, created)
    SELECT c.id, NEW.id, NEW.dollars, 'open', TRUE, NEW.created FROM account_closings c
    WHERE c.email = NEW.email AND c.settled IS NOT NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION turn_late_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM provider_payments WHERE id = NEW.provider_payment AND kept IS NOT NULL) THEN
        PERFORM owe_closed_payment(NEW.provider_payment, now());
        RETURN NULL;
    END IF;
    UPDATE payments SET invalidated = NEW.invalidated WHERE offsets = NEW.id AND invalidated <> NEW.invalidated;
    UPDATE account_payouts SET state = CASE WHEN NEW.invalidated THEN 'void' ELSE 'open' END
    WHERE payment = NEW.id AND state = CASE WHEN NEW.invalidated THEN 'open' ELSE 'void' END;
    -- It was paid by hand, and counts again.
    INSERT INTO account_payouts (closing, payment, amount, state, late, created)
    SELECT o.closing, NEW.id, NEW.dollars, 'open', TRUE, now() FROM account_payouts o
    WHERE o.payment = NEW.id AND o.late AND NOT NEW.invalidated AND NOT EXISTS (
        SELECT FROM account_payouts l WHERE l.payment = NEW.id AND l.late AND l.state <> 'done')
    ORDER BY o.id LIMIT 1;
    RETURN NULL;
END $$;
DROP TRIGGER payments_late_turned ON payments;
CREATE TRIGGER payments_late_turned AFTER UPDATE ON payments FOR EACH ROW
    WHEN (NEW.invalidated <> OLD.invalidated AND is_closed(NEW.email)) EXECUTE FUNCTION turn_late_payment();

-- A refund is also pending: the provider has it, and may still say that it failed.
ALTER TABLE provider_refunds DROP CONSTRAINT IF EXISTS provider_refunds_status_check,
    ADD CONSTRAINT provider_refunds_status_check
    CHECK (status IN ('open', 'offered', 'pending', 'done', 'refused')) NOT VALID;
ALTER TABLE provider_refunds ADD CONSTRAINT provider_refunds_pending_is_known
    CHECK (status <> 'pending' OR reference IS NOT NULL) NOT VALID;

-- What is over stays as it is, but that what was sent may come back.
CREATE OR REPLACE FUNCTION check_refund_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.payment, NEW.amount, NEW.key) IS DISTINCT FROM (OLD.id, OLD.payment, OLD.amount, OLD.key)
        OR OLD.status IN ('done', 'refused') AND (NEW.status, NEW.sent) IS DISTINCT FROM (OLD.status, OLD.sent)
            AND NOT (OLD.status = 'done' AND NEW.status = 'refused' AND NEW.sent = 0)
        OR NEW.reference IS DISTINCT FROM OLD.reference AND OLD.reference IS NOT NULL THEN
        RAISE EXCEPTION 'refund % stays what it is: % of %', OLD.id, OLD.sent, OLD.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_refunds_stay';
    END IF;
    RETURN NEW;
END $$;
