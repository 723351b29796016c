-- An older program would refuse every further receipt.
DO $$ BEGIN
    IF EXISTS (SELECT FROM receipt_gaps) THEN
        RAISE EXCEPTION 'there are gaps in the numbers of receipts, which an older program does not know'
            USING ERRCODE = 'check_violation';
    END IF;
END $$;
ALTER TABLE provider_payments DROP CONSTRAINT provider_payments_friend_comes_back_once;
ALTER TABLE dunning_clock DROP CONSTRAINT dunning_clock_lost_payments_pause;
-- lint: accept drops-data because a pause is for everything then, and the clock begins anew
ALTER TABLE dunning_clock DROP COLUMN trusted, DROP COLUMN lost_payments;
CREATE OR REPLACE FUNCTION number_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE receipt_numbers SET last = last + 1 RETURNING last INTO NEW.number;
    IF NEW.number <> 1 + coalesce((SELECT max(number) FROM receipts), 0) THEN
        RAISE EXCEPTION 'receipts are numbered without gaps: % is not the next number', NEW.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipts_without_gaps';
    END IF;
    RETURN NEW;
END $$;
DROP TABLE receipt_gaps;
DROP FUNCTION skip_receipt_numbers();
DROP TRIGGER payments_turn_bank_line ON payments;
DROP FUNCTION turn_bank_line();
CREATE OR REPLACE FUNCTION check_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    places integer;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'payment % cannot be deleted: the ledger has it', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay', HINT = format(
                'If the money did not stay, say so: UPDATE payments SET invalidated = TRUE WHERE id = %s', OLD.id);
    ELSIF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.dollars, NEW.method, NEW.provider_payment, NEW.offsets)
                IS DISTINCT FROM (OLD.id, OLD.dollars, OLD.method, OLD.provider_payment, OLD.offsets)
            OR NEW.email <> OLD.email AND account_of(OLD.email, NEW.email) = OLD.email THEN
            RAISE EXCEPTION 'the amount, the account and the method of payment % cannot be changed: the ledger has it',
                OLD.id USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay', HINT = format(
                'Set invalidated = TRUE on payment %s, and record another payment with what is right.', OLD.id);
        END IF;
        RETURN NEW;
    END IF;
    places := (SELECT decimals FROM currency);
    IF NEW.dollars = 'NaN' OR NEW.dollars IN ('Infinity', '-Infinity') THEN
        RAISE EXCEPTION 'the amount of a payment is a number; % is not', NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_is_an_amount';
    ELSIF NEW.dollars = 0 OR NEW.dollars < 0 AND NEW.method NOT IN ('solidarity', 'voucher', 'assigned',
            'trial') THEN
        RAISE EXCEPTION 'a payment is more than 0; % is not', NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_check',
            HINT = 'To take a payment back, set its column invalidated.';
    ELSIF abs(NEW.dollars) >= 10000000000 THEN
        RAISE EXCEPTION 'a payment is less than 10000000000; % is not', NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_is_an_amount';
    ELSIF NEW.dollars <> round(NEW.dollars, places) THEN
        RAISE EXCEPTION 'a payment has at most % decimal places; % has more', places, NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_is_an_amount';
    END IF;
    NEW.dollars := round(NEW.dollars, 2);
    RETURN NEW;
END $$;
UPDATE bank_lines SET state = 'ignored' WHERE state = 'returned';
-- lint: accept validates-all because lines of the bank are few
ALTER TABLE bank_lines DROP CONSTRAINT bank_lines_state_check, ADD CONSTRAINT bank_lines_state_check
    CHECK (state IN ('waiting', 'assigned', 'kept', 'ignored'));
DROP INDEX ledger_transactions_reversals;
DROP INDEX payments_bank_line;
DROP INDEX payments_bank_line_counts_once;
DROP INDEX payments_rest_of;
-- lint: accept drops-data because the notes of the payments say it, too
ALTER TABLE payments DROP COLUMN rest_of, DROP COLUMN bank_line;
