-- capsul: no transaction
-- Refunds that whoever paid has to claim at the provider, because only they know where the money is to go. A refund is
-- open: the provider has not answered. offered: it can be claimed there. done: no more will be sent, and what was not
-- claimed counts for the account again. refused.

ALTER TABLE provider_refunds
    -- What has gone back; what was claimed and waits to be paid; what is on its way.
    ADD COLUMN sent numeric NOT NULL DEFAULT 0,
    ADD COLUMN claimed numeric NOT NULL DEFAULT 0,
    ADD COLUMN moving numeric NOT NULL DEFAULT 0,
    -- Where it is claimed.
    ADD COLUMN url text NOT NULL DEFAULT '',
    -- Since when an operator wants it to be claimed no longer.
    ADD COLUMN withdrawn timestamptz;
UPDATE provider_refunds SET sent = amount WHERE status = 'done';

-- What was allowed still is, so the rows that are there are not read again.
ALTER TABLE provider_refunds DROP CONSTRAINT IF EXISTS provider_refunds_status_check,
    ADD CONSTRAINT provider_refunds_status_check
    CHECK (status IN ('open', 'offered', 'done', 'refused')) NOT VALID;
ALTER TABLE provider_refunds ADD CONSTRAINT provider_refunds_sent_check
    CHECK (sent >= 0 AND claimed >= 0 AND moving >= 0 AND sent + claimed + moving <= amount AND sent = round(sent, 2))
    NOT VALID;
-- Nothing was sent before there was an answer, and nothing moves when it is over.
ALTER TABLE provider_refunds ADD CONSTRAINT provider_refunds_moves_while_offered
    CHECK ((status IN ('offered', 'done') OR sent = 0) AND (status = 'offered' OR claimed + moving = 0)) NOT VALID;
-- The page leads to money: it is kept only as long as it is needed.
ALTER TABLE provider_refunds ADD CONSTRAINT provider_refunds_offered_has_page
    CHECK ((status = 'offered') = (url <> '') AND (status <> 'offered' OR reference IS NOT NULL)) NOT VALID;
CREATE UNIQUE INDEX CONCURRENTLY provider_refunds_reference_once ON provider_refunds (reference);
CREATE INDEX CONCURRENTLY provider_refunds_noted ON provider_refunds (created) WHERE status = 'done' AND problem <> '';

-- No more goes back than has come. The payment is locked, so two refunds at the same time do not both fit.
CREATE FUNCTION check_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    most numeric := (SELECT received - refunded FROM provider_payments WHERE id = NEW.payment FOR NO KEY UPDATE);
    going numeric := (SELECT sum(amount - sent) FROM provider_refunds
        WHERE payment = NEW.payment AND status IN ('open', 'offered'));
BEGIN
    IF going > most THEN
        RAISE EXCEPTION '% of provider payment % would go back, and % is left of it', going, NEW.payment, most
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_refunds_within_payment';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_refunds_within_payment AFTER INSERT ON provider_refunds
    FOR EACH ROW WHEN (NEW.status IN ('open', 'offered')) EXECUTE FUNCTION check_refund();

-- What is over stays as it is, and a refund stays the one of its payment.
CREATE FUNCTION check_refund_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.payment, NEW.amount, NEW.key) IS DISTINCT FROM (OLD.id, OLD.payment, OLD.amount, OLD.key)
        OR OLD.status IN ('done', 'refused') AND (NEW.status, NEW.sent) IS DISTINCT FROM (OLD.status, OLD.sent)
        OR NEW.reference IS DISTINCT FROM OLD.reference AND OLD.reference IS NOT NULL THEN
        RAISE EXCEPTION 'refund % stays what it is: % of %', OLD.id, OLD.sent, OLD.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_refunds_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER provider_refunds_stay BEFORE UPDATE ON provider_refunds
    FOR EACH ROW EXECUTE FUNCTION check_refund_change();

-- Whoever was sent a claim after their account was closed is not remembered by that, unless they are back.
CREATE FUNCTION forget_contact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM mails WHERE recipient = OLD.contact
        AND NOT EXISTS (SELECT FROM accounts WHERE email = OLD.contact);
    RETURN NULL;
END $$;
CREATE TRIGGER account_closings_forget_contact AFTER UPDATE ON account_closings
    FOR EACH ROW WHEN (NEW.finished IS NOT NULL AND OLD.contact <> '' AND NEW.contact = '')
    EXECUTE FUNCTION forget_contact();
