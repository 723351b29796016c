-- Payments are what they were before there were providers and banks. Refused if the ledger has entries of either:
-- nothing there is ever taken away.
LOCK TABLE payments, ledger_accounts, ledger_transactions IN SHARE ROW EXCLUSIVE MODE;
DROP TABLE bank_lines;
DROP TABLE account_references;
DROP TABLE provider_refusals;
DROP TABLE provider_events;
DROP TABLE provider_refunds;
ALTER TABLE payments DROP CONSTRAINT payments_method_check;
ALTER TABLE payments ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening')) NOT VALID;
ALTER TABLE ledger_transactions DROP CONSTRAINT ledger_transactions_kind_check;
ALTER TABLE ledger_transactions ADD CONSTRAINT ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment'));
ALTER TABLE ledger_accounts DISABLE TRIGGER ledger_accounts_only_grow;
DELETE FROM ledger_accounts WHERE id = 7 AND NOT EXISTS (SELECT FROM ledger_entries WHERE account = 7);
ALTER TABLE ledger_accounts ENABLE TRIGGER ledger_accounts_only_grow;
ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_type_check;
ALTER TABLE ledger_accounts ADD CONSTRAINT ledger_accounts_type_check CHECK (type IN ('customer', 'usage_income',
    'cash', 'provider_clearing', 'provider_fees', 'solidarity_fund', 'write_off', 'tax', 'to_be_assigned'));
CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE method WHEN 'cash' THEN 'cash' WHEN 'opening' THEN 'to_be_assigned' ELSE 'provider_clearing' END
$$;
CREATE OR REPLACE FUNCTION payment_account_name(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'opening') THEN '' ELSE method END
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
        IF (NEW.id, NEW.dollars, NEW.method) IS DISTINCT FROM (OLD.id, OLD.dollars, OLD.method)
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
ALTER TABLE payments DROP COLUMN provider_payment;
DROP TABLE provider_payments;
DROP FUNCTION post_provider_fee();
DROP FUNCTION announce_provider_payment();
