-- Refused if money left an account in a way that did not exist before: nothing in the ledger is ever taken away.
LOCK TABLE payments, ledger_accounts, account_totals IN SHARE ROW EXCLUSIVE MODE;
DROP FUNCTION forget_receipts(bigint, timestamptz);
DROP FUNCTION forget_person(text, text);
DROP FUNCTION without_person(text, text, text);
DROP TRIGGER receipts_only_grow ON receipts;
DROP TRIGGER receipts_only_forget ON receipts;
CREATE TRIGGER receipts_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();
DROP FUNCTION check_receipt_change();
DROP TRIGGER payments_late_turned ON payments;
DROP TRIGGER payments_late_added ON payments;
DROP FUNCTION turn_late_payment();
DROP FUNCTION set_late_payment_aside();
DROP FUNCTION is_closed(text);
DROP TRIGGER payments_account_open ON payments;
DROP TRIGGER provider_payments_account_open ON provider_payments;
DROP TRIGGER vms_account_open ON vms;
DROP FUNCTION refuse_while_closing();
DROP TABLE account_payouts;
DROP TABLE account_closings;
ALTER TABLE payments DROP CONSTRAINT payments_dollars_check, ADD CONSTRAINT payments_dollars_check CHECK (dollars > 0);
ALTER TABLE payments DROP CONSTRAINT payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening', 'bank', 'assigned'));
DROP INDEX payments_offsets_once;
ALTER TABLE payments DROP COLUMN offsets;
ALTER TABLE account_totals ADD CONSTRAINT account_totals_paid_check CHECK (paid >= 0);
ALTER TABLE ledger_accounts DISABLE TRIGGER ledger_accounts_only_grow;
DELETE FROM ledger_accounts WHERE id = 8 AND NOT EXISTS (SELECT FROM ledger_entries WHERE account = 8);
ALTER TABLE ledger_accounts ENABLE TRIGGER ledger_accounts_only_grow;
ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_type_check, ADD CONSTRAINT ledger_accounts_type_check
    CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing', 'provider_fees',
    'solidarity_fund', 'write_off', 'tax', 'to_be_assigned'));
CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank') THEN method WHEN method IN ('opening', 'assigned') THEN 'to_be_assigned'
        ELSE 'provider_clearing' END
$$;
CREATE OR REPLACE FUNCTION payment_account_name(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank', 'opening', 'assigned') THEN '' ELSE method END
$$;
CREATE OR REPLACE FUNCTION check_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    places integer;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'payment % cannot be deleted: the ledger has it', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay', HINT = format(
                'If the money did not stay, say so: UPDATE payments SET invalidated = TRUE WHERE id = %s', OLD.id);
    ELSIF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.dollars, NEW.method, NEW.provider_payment)
                IS DISTINCT FROM (OLD.id, OLD.dollars, OLD.method, OLD.provider_payment)
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
    ELSIF NEW.dollars <= 0 THEN
        RAISE EXCEPTION 'a payment is more than 0; % is not', NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_check',
            HINT = 'To take a payment back, set its column invalidated.';
    ELSIF NEW.dollars >= 10000000000 THEN
        RAISE EXCEPTION 'a payment is less than 10000000000; % is not', NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_is_an_amount';
    ELSIF NEW.dollars <> round(NEW.dollars, places) THEN
        RAISE EXCEPTION 'a payment has at most % decimal places; % has more', places, NEW.dollars
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_dollars_is_an_amount';
    END IF;
    NEW.dollars := round(NEW.dollars, 2);
    RETURN NEW;
END $$;
