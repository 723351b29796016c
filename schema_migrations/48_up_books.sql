-- capsul: no transaction
-- What keeps the books right when something is put right afterwards: receipts, lines of the bank, and the clock.

-- Which payment this is the rest of, when a part of that one went back; and which line of the bank it is.
ALTER TABLE payments ADD COLUMN rest_of integer, ADD COLUMN bank_line bigint;
ALTER TABLE payments ADD CONSTRAINT payments_rest_of_fkey FOREIGN KEY (rest_of) REFERENCES payments NOT VALID;
ALTER TABLE payments VALIDATE CONSTRAINT payments_rest_of_fkey;
ALTER TABLE payments ADD CONSTRAINT payments_bank_line_fkey FOREIGN KEY (bank_line) REFERENCES bank_lines NOT VALID;
ALTER TABLE payments VALIDATE CONSTRAINT payments_bank_line_fkey;
UPDATE payments p SET rest_of = o.id FROM payments o
WHERE p.note = 'the rest of payment ' || o.id AND p.email = o.email AND o.invalidated AND o.id < p.id;
UPDATE payments p SET bank_line = b.id FROM bank_lines b WHERE b.payment = p.id;
CREATE INDEX CONCURRENTLY payments_rest_of ON payments (rest_of) WHERE rest_of IS NOT NULL;
-- A line of the bank is money once, whoever validates what.
CREATE UNIQUE INDEX CONCURRENTLY payments_bank_line_counts_once ON payments (bank_line)
    WHERE bank_line IS NOT NULL AND NOT invalidated;
CREATE INDEX CONCURRENTLY payments_bank_line ON payments (bank_line) WHERE bank_line IS NOT NULL;
-- What receipts are looked for: hardly any payment is ever taken back.
CREATE INDEX CONCURRENTLY ledger_transactions_reversals ON ledger_transactions (payment) WHERE kind = 'reversal';

-- returned: the money was sent back.
ALTER TABLE bank_lines DROP CONSTRAINT IF EXISTS bank_lines_state_check, ADD CONSTRAINT bank_lines_state_check
    CHECK (state IN ('waiting', 'assigned', 'kept', 'ignored', 'returned')) NOT VALID;
ALTER TABLE bank_lines VALIDATE CONSTRAINT bank_lines_state_check;
-- Lines whose payment was invalidated are open again; of a closed account the money was sent back.
UPDATE bank_lines b SET payment = NULL,
    state = CASE WHEN d.sent THEN 'returned' WHEN p.method = 'assigned' THEN 'kept' ELSE 'waiting' END,
    email = CASE WHEN d.sent THEN b.email END
FROM payments p CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM account_payouts o WHERE o.payment = p.id AND o.state = 'done') AS sent) AS d
WHERE p.id = b.payment AND p.invalidated;

CREATE OR REPLACE FUNCTION check_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    places integer;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'payment % cannot be deleted: the ledger has it', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay', HINT = format(
                'If the money did not stay, say so: UPDATE payments SET invalidated = TRUE WHERE id = %s', OLD.id);
    ELSIF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.dollars, NEW.method, NEW.provider_payment, NEW.offsets, NEW.rest_of, NEW.bank_line)
                IS DISTINCT FROM (OLD.id, OLD.dollars, OLD.method, OLD.provider_payment, OLD.offsets, OLD.rest_of,
                    OLD.bank_line)
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

-- A line of the bank is open again when its payment counts no longer, and taken when it does, whoever says so. What
-- was kept before it was assigned is in the ledger already, so it waits there. Whose it is has to be decided anew.
CREATE FUNCTION turn_bank_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line bank_lines;
BEGIN
    SELECT * INTO line FROM bank_lines WHERE id = NEW.bank_line FOR UPDATE;
    IF NEW.invalidated THEN
        UPDATE bank_lines SET state = CASE NEW.method WHEN 'assigned' THEN 'kept' ELSE 'waiting' END, payment = NULL,
            email = NULL
        WHERE id = line.id AND payment = NEW.id;
    ELSIF line.state = 'assigned' OR line.state = 'kept' AND NEW.method <> 'assigned' THEN
        RAISE EXCEPTION 'the money of payment % is in the books already: line % of the bank is %', NEW.id, line.id,
            CASE line.state WHEN 'assigned' THEN format('payment %s', line.payment) ELSE line.state END
            USING ERRCODE = 'check_violation', CONSTRAINT = 'bank_lines_count_once', HINT = CASE line.state
                WHEN 'assigned' THEN format('Set invalidated = TRUE on payment %s first.', line.payment)
                ELSE 'Assign the line to the account on the page Bank transfers.' END;
    ELSE
        UPDATE bank_lines SET state = 'assigned', payment = NEW.id, email = NEW.email WHERE id = line.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_turn_bank_line BEFORE UPDATE ON payments FOR EACH ROW
    WHEN (NEW.bank_line IS NOT NULL AND NEW.invalidated <> OLD.invalidated) EXECUTE FUNCTION turn_bank_line();

-- Numbers of receipts that are not in this database: they were given out before a backup was restored, say.
CREATE TABLE receipt_gaps (
    first       integer PRIMARY KEY,
    last        integer NOT NULL,
    reason      text NOT NULL CONSTRAINT receipt_gaps_reason_check CHECK (length(reason) BETWEEN 1 AND 200),
    actor       text NOT NULL,
    at          timestamptz NOT NULL,
    CONSTRAINT receipt_gaps_goes_on CHECK (last >= first)
);
CREATE FUNCTION skip_receipt_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE receipt_numbers SET last = NEW.last WHERE last = NEW.first - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a gap in the numbers of receipts begins with the next number; % is not', NEW.first
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipt_gaps_follow';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER receipt_gaps_follow BEFORE INSERT ON receipt_gaps
    FOR EACH ROW EXECUTE FUNCTION skip_receipt_numbers();
CREATE TRIGGER receipt_gaps_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt_gaps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();
CREATE OR REPLACE FUNCTION number_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE receipt_numbers SET last = last + 1 RETURNING last INTO NEW.number;
    IF NEW.number <> 1 + greatest((SELECT max(number) FROM receipts), (SELECT max(last) FROM receipt_gaps), 0) THEN
        RAISE EXCEPTION 'receipts are numbered without gaps: % is not the next number', NEW.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipts_without_gaps';
    END IF;
    RETURN NEW;
END $$;

-- trusted: what time it is at the latest for what cannot be undone; it gains on the Hub's clock slowly. lost_payments:
-- the pause is because payments may be missing; until this version, every pause was taken for that.
ALTER TABLE dunning_clock ADD COLUMN trusted timestamptz, ADD COLUMN lost_payments boolean NOT NULL DEFAULT FALSE;
UPDATE dunning_clock SET lost_payments = TRUE WHERE paused <> '';
ALTER TABLE dunning_clock ADD CONSTRAINT dunning_clock_lost_payments_pause CHECK (paused <> '' OR NOT lost_payments)
    NOT VALID;
ALTER TABLE dunning_clock VALIDATE CONSTRAINT dunning_clock_lost_payments_pause;

-- Where a friend comes back to leads to refunds: it is needed until the provider knows it, and then only they have it.
UPDATE provider_payments SET return_to = ''
WHERE friend_link IS NOT NULL AND return_to <> '' AND (reference IS NOT NULL OR status = 'failed');
ALTER TABLE provider_payments ADD CONSTRAINT provider_payments_friend_comes_back_once
    CHECK (friend_link IS NULL OR return_to = '' OR reference IS NULL AND status <> 'failed') NOT VALID;
ALTER TABLE provider_payments VALIDATE CONSTRAINT provider_payments_friend_comes_back_once;
