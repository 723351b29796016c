-- capsul: no transaction
-- Closing accounts: what was asked, what became of it, and which money goes back. The ledger keeps its entries under a
-- pseudonym.

-- An account that is being closed, or was. Until due it may be reopened; then its VMs are deleted, its money is settled,
-- and it loses its name.
CREATE TABLE account_closings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- After it was settled, the pseudonym.
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    actor       text NOT NULL,
    reason      text NOT NULL,
    asked       timestamptz NOT NULL,
    due         timestamptz NOT NULL,
    -- back: by the way it came. hand: by an operator. fund: to the solidarity fund.
    money       text NOT NULL CONSTRAINT account_closings_money_check CHECK (money IN ('back', 'hand', 'fund')),
    -- Where to send what cannot go back by itself, and whose it is. Removed when everything is paid.
    pay_to      text NOT NULL CONSTRAINT account_closings_pay_to_check CHECK (length(pay_to) <= 300),
    contact     text NOT NULL DEFAULT '',
    reopened    timestamptz,
    settled     timestamptz,
    finished    timestamptz,
    -- When the law demands the names on its receipts no longer, and since when they are gone.
    forget      timestamptz,
    forgotten   timestamptz,
    CONSTRAINT account_closings_due_after_asked CHECK (due >= asked),
    CONSTRAINT account_closings_reopened_before_settled CHECK (reopened IS NULL OR settled IS NULL),
    CONSTRAINT account_closings_settled_before_finished CHECK (finished IS NULL OR settled IS NOT NULL),
    CONSTRAINT account_closings_finished_knows_nobody CHECK (finished IS NULL OR contact = '' AND pay_to = ''),
    CONSTRAINT account_closings_settled_will_forget CHECK ((settled IS NULL) = (forget IS NULL))
);
CREATE INDEX account_closings_email ON account_closings (email);
CREATE UNIQUE INDEX account_closings_once ON account_closings (email) WHERE reopened IS NULL;
CREATE INDEX account_closings_waiting ON account_closings (due) WHERE reopened IS NULL AND finished IS NULL;
CREATE INDEX account_closings_to_forget ON account_closings (forget) WHERE forgotten IS NULL AND settled IS NOT NULL;

-- A payment that takes another one out of its account: what arrived after the account was closed, and is nobody's yet.
ALTER TABLE payments ADD COLUMN offsets integer;
ALTER TABLE payments ADD CONSTRAINT payments_offsets_fkey FOREIGN KEY (offsets) REFERENCES payments NOT VALID;
ALTER TABLE payments VALIDATE CONSTRAINT payments_offsets_fkey;
CREATE UNIQUE INDEX CONCURRENTLY payments_offsets_once ON payments (offsets) WHERE offsets IS NOT NULL;

-- Money that goes out of an account without having been used: to the solidarity fund, back to the vouchers that it came
-- from, or to what is to be assigned.
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_dollars_check, ADD CONSTRAINT payments_dollars_check
    CHECK (dollars > 0 OR dollars < 0 AND method IN ('solidarity', 'voucher', 'assigned')) NOT VALID;
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening', 'bank', 'assigned', 'solidarity', 'voucher',
        'write_off')) NOT VALID;
-- What somebody gave away may turn out not to have been paid: a dispute was lost afterwards.
ALTER TABLE account_totals DROP CONSTRAINT IF EXISTS account_totals_paid_check;
ALTER TABLE ledger_accounts DROP CONSTRAINT IF EXISTS ledger_accounts_type_check, ADD CONSTRAINT
    ledger_accounts_type_check CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing',
    'provider_fees', 'solidarity_fund', 'vouchers', 'write_off', 'tax', 'to_be_assigned')) NOT VALID;
INSERT INTO ledger_accounts (id, type, name) VALUES (8, 'vouchers', '') ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank', 'write_off') THEN method
        WHEN method IN ('opening', 'assigned') THEN 'to_be_assigned' WHEN method = 'solidarity' THEN 'solidarity_fund'
        WHEN method = 'voucher' THEN 'vouchers' ELSE 'provider_clearing' END
$$;

CREATE OR REPLACE FUNCTION payment_account_name(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN payment_account_type(method) = 'provider_clearing' THEN method ELSE '' END
$$;

-- As before, and some methods take money out.
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
    ELSIF NEW.dollars = 0 OR NEW.dollars < 0 AND NEW.method NOT IN ('solidarity', 'voucher', 'assigned') THEN
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

-- Money of a closed account that leaves. sent: a provider is asked to send it back. open: an operator pays it by hand.
-- void: it is not owed any more.
CREATE TABLE account_payouts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    closing     bigint NOT NULL REFERENCES account_closings,
    -- The payment that it is a part of, and the refund that sends it back.
    payment     integer NOT NULL REFERENCES payments,
    refund      bigint REFERENCES provider_refunds,
    amount      numeric NOT NULL CONSTRAINT account_payouts_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    state       text NOT NULL CONSTRAINT account_payouts_state_check CHECK (state IN ('sent', 'open', 'done', 'void')),
    -- It arrived after the account was closed.
    late        boolean NOT NULL DEFAULT FALSE,
    created     timestamptz NOT NULL,
    done        timestamptz,
    actor       text NOT NULL DEFAULT '',
    note        text NOT NULL DEFAULT '',
    CONSTRAINT account_payouts_sent_has_refund CHECK (state <> 'sent' OR refund IS NOT NULL),
    CONSTRAINT account_payouts_done_has_time CHECK ((state = 'done') = (done IS NOT NULL))
);
CREATE INDEX account_payouts_closing ON account_payouts (closing, id);
CREATE INDEX account_payouts_payment ON account_payouts (payment);
CREATE UNIQUE INDEX account_payouts_refund_once ON account_payouts (refund);
CREATE INDEX account_payouts_to_do ON account_payouts (id) WHERE state IN ('sent', 'open');
CREATE UNIQUE INDEX account_payouts_late_once ON account_payouts (payment) WHERE late;

-- Nothing new while an account is being closed.
CREATE FUNCTION refuse_while_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM account_closings WHERE email = NEW.email AND reopened IS NULL AND settled IS NULL) THEN
        RAISE EXCEPTION 'the account % is being closed', NEW.email
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_is_open',
                HINT = 'It can be reopened: capsul account reopen EMAIL';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vms_account_open BEFORE INSERT ON vms FOR EACH ROW EXECUTE FUNCTION refuse_while_closing();
CREATE TRIGGER provider_payments_account_open BEFORE INSERT ON provider_payments
    FOR EACH ROW WHEN (NEW.status = 'new') EXECUTE FUNCTION refuse_while_closing();
CREATE TRIGGER payments_account_open BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NULL AND NEW.method IN ('cash', 'bank', 'opening', 'assigned', 'play', 'voucher')
        AND NEW.dollars > 0)
    EXECUTE FUNCTION refuse_while_closing();

-- Closed accounts have names that no email address has.
CREATE FUNCTION is_closed(email text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT email LIKE 'closed-%' AND strpos(email, '@') = 0
$$;

-- What arrives by a provider for a closed account waits among what is to be assigned, until an operator sends it back.
-- Another amount of a payment that came before is no new money.
CREATE FUNCTION set_late_payment_aside() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER payments_late_added AFTER INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NOT NULL AND NOT NEW.invalidated AND is_closed(NEW.email))
    EXECUTE FUNCTION set_late_payment_aside();

CREATE FUNCTION turn_late_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payments SET invalidated = NEW.invalidated WHERE offsets = NEW.id AND invalidated <> NEW.invalidated;
    UPDATE account_payouts SET state = CASE WHEN NEW.invalidated THEN 'void' ELSE 'open' END
    WHERE payment = NEW.id AND late AND state = CASE WHEN NEW.invalidated THEN 'open' ELSE 'void' END;
    RETURN NULL;
END $$;
CREATE TRIGGER payments_late_turned AFTER UPDATE ON payments FOR EACH ROW
    WHEN (NEW.invalidated <> OLD.invalidated AND NEW.provider_payment IS NOT NULL AND is_closed(NEW.email))
    EXECUTE FUNCTION turn_late_payment();

-- A receipt stays what it is; only its customer's name may go, when the law does not demand it any more.
CREATE FUNCTION check_receipt_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.number, NEW.transaction, NEW.issued, NEW.seller, NEW.gross, NEW.net, NEW.tax)
            IS DISTINCT FROM (OLD.number, OLD.transaction, OLD.issued, OLD.seller, OLD.gross, OLD.net, OLD.tax)
        OR NEW.corrects IS DISTINCT FROM OLD.corrects OR (NEW.name, NEW.address, NEW.tax_number) <> ('', '', '')
        OR NOT EXISTS (SELECT FROM ledger_transactions t JOIN payments p ON p.id = t.payment
            JOIN account_closings c ON c.email = p.email
            WHERE t.id = OLD.transaction AND c.settled IS NOT NULL AND c.forgotten IS NOT NULL) THEN
        RAISE EXCEPTION 'rows of receipts are only added: they are neither changed nor deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipts_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER receipts_only_forget BEFORE UPDATE ON receipts FOR EACH ROW EXECUTE FUNCTION check_receipt_change();
DROP TRIGGER receipts_only_grow ON receipts;
CREATE TRIGGER receipts_only_grow BEFORE DELETE OR TRUNCATE ON receipts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();

-- A person's address where it stands alone in a text, and not as a part of another one.
CREATE FUNCTION without_person(text text, person text, pseudonym text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN strpos(text, person) = 0 THEN text ELSE regexp_replace(text, '(^|[\s,:;<>()''"])'
        || regexp_replace(person, '([^a-z0-9@])', '\\\1', 'g') || '(?=$|[\s,:;<>()''"]|\.(\s|$))',
        '\1' || pseudonym, 'g') END
$$;

-- Takes a person out of an account, which goes on under a pseudonym: all that is kept of them but what is in the books.
CREATE FUNCTION forget_person(person text, pseudonym text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    subjects text[] := ARRAY(SELECT id FROM vms WHERE email = person
        UNION ALL SELECT 'payment ' || id FROM payments WHERE email = person
        UNION ALL SELECT 'provider payment ' || id FROM provider_payments WHERE email = person
        UNION ALL SELECT person);
BEGIN
    DELETE FROM sessions WHERE email = person;
    DELETE FROM sign_in_tokens WHERE email = person;
    DELETE FROM ssh_keys WHERE email = person;
    DELETE FROM vm_ssh_keys k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM key_changes k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM rescues r USING vms v WHERE v.id = r.vm AND v.email = person;
    DELETE FROM billing_addresses WHERE email = person;
    DELETE FROM account_references WHERE email = person;
    DELETE FROM dunning WHERE email = person;
    DELETE FROM dunning_holds WHERE email = person;
    DELETE FROM mails WHERE recipient = person;
    UPDATE provider_events SET body = '' WHERE body <> ''
        AND payment IN (SELECT id FROM provider_payments WHERE email = person);
    UPDATE vms SET name = id, console_tail = '' WHERE email = person;
    UPDATE audit_lines SET actor = CASE actor WHEN person THEN pseudonym ELSE actor END,
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END,
        detail = without_person(detail, person, pseudonym)
    WHERE actor = person OR subject = ANY(subjects);
    UPDATE alerts SET message = without_person(message, person, pseudonym),
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END
    WHERE strpos(message, person) > 0 OR subject = person;
    UPDATE accounts SET email = pseudonym WHERE email = person;
END $$;

-- And what was in the books, when the law does not demand it any more.
CREATE FUNCTION forget_receipts(closing bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pseudonym text;
BEGIN
    UPDATE account_closings SET forgotten = at, reason = ''
    WHERE id = closing AND forget <= at AND forgotten IS NULL RETURNING email INTO pseudonym;
    UPDATE receipts SET name = '', address = '', tax_number = '' WHERE transaction IN (
        SELECT t.id FROM payments p JOIN ledger_transactions t ON t.payment = p.id WHERE p.email = pseudonym);
    UPDATE payments SET note = '' WHERE email = pseudonym AND note <> '';
    UPDATE bank_lines SET payer = '', message = '' WHERE email = pseudonym;
END $$;
