-- Refused if trial credit was given: nothing in the ledger is ever taken away.
LOCK TABLE payments, ledger_accounts IN SHARE ROW EXCLUSIVE MODE;
DROP TRIGGER payments_trial_once ON payments;
DROP FUNCTION check_trial_payment();
DROP TABLE trials;
DROP FUNCTION check_trial();
ALTER TABLE payments DROP CONSTRAINT payments_dollars_check, ADD CONSTRAINT payments_dollars_check
    CHECK (dollars > 0 OR dollars < 0 AND method IN ('solidarity', 'voucher', 'assigned'));
ALTER TABLE payments DROP CONSTRAINT payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening', 'bank', 'assigned', 'solidarity', 'voucher',
        'write_off'));
ALTER TABLE ledger_accounts DISABLE TRIGGER ledger_accounts_only_grow;
DELETE FROM ledger_accounts WHERE id = 9 AND NOT EXISTS (SELECT FROM ledger_entries WHERE account = 9);
ALTER TABLE ledger_accounts ENABLE TRIGGER ledger_accounts_only_grow;
ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_type_check, ADD CONSTRAINT ledger_accounts_type_check
    CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing',
    'provider_fees', 'solidarity_fund', 'vouchers', 'write_off', 'tax', 'to_be_assigned'));
CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank', 'write_off') THEN method
        WHEN method IN ('opening', 'assigned') THEN 'to_be_assigned' WHEN method = 'solidarity' THEN 'solidarity_fund'
        WHEN method = 'voucher' THEN 'vouchers' ELSE 'provider_clearing' END
$$;
DROP TRIGGER payments_account_open ON payments;
CREATE TRIGGER payments_account_open BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NULL AND NEW.dollars > 0 AND NEW.method IN ('cash', 'bank', 'opening', 'assigned',
        'play', 'voucher', 'solidarity'))
    EXECUTE FUNCTION refuse_while_closing();
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
CREATE OR REPLACE FUNCTION vms_by_age(account text, at timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM account_limits) THEN coalesce((
        SELECT max(l.max_vms) FROM account_limits l, accounts a LEFT JOIN account_totals t ON t.email = a.email
        WHERE a.email = account AND l.after_days * interval '1 day' <= greatest(interval '0', at - a.created)
            AND l.paid <= coalesce(t.paid, 0)), 0) END
$$;
CREATE OR REPLACE FUNCTION forget_receipts(closing bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
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
DROP TRIGGER vms_own_price ON vms;
-- What is not the standard price is a VM's own from now on.
UPDATE vms SET price_from = NULL WHERE price_percent <> 100 AND deleted IS NULL;
ALTER TABLE vms DROP COLUMN price_percent;
CREATE TRIGGER vms_own_price BEFORE UPDATE OF dollars_per_month ON vms FOR EACH ROW
    WHEN (NEW.dollars_per_month <> OLD.dollars_per_month AND NEW.price_from = OLD.price_from)
    EXECUTE FUNCTION keep_own_price();
DROP FUNCTION price_at(numeric, integer);
DROP FUNCTION price_percent(text);
DROP TABLE level_choices;
DROP TABLE price_levels;
DROP FUNCTION check_level_choice();
DROP FUNCTION check_price_level();
