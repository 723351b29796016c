-- Trial credit: what a new account gets to try things out, once for an address. It is a payment of a method of its own,
-- which lapses, and is never paid out.
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_dollars_check, ADD CONSTRAINT payments_dollars_check
    CHECK (dollars > 0 OR dollars < 0 AND method IN ('solidarity', 'voucher', 'assigned', 'trial')) NOT VALID;
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening', 'bank', 'assigned', 'solidarity', 'voucher',
        'write_off', 'trial')) NOT VALID;
ALTER TABLE ledger_accounts DROP CONSTRAINT IF EXISTS ledger_accounts_type_check, ADD CONSTRAINT
    ledger_accounts_type_check CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing',
    'provider_fees', 'solidarity_fund', 'vouchers', 'trial_credit', 'write_off', 'tax', 'to_be_assigned')) NOT VALID;
INSERT INTO ledger_accounts (id, type, name) VALUES (9, 'trial_credit', '') ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank', 'write_off') THEN method
        WHEN method IN ('opening', 'assigned') THEN 'to_be_assigned' WHEN method = 'solidarity' THEN 'solidarity_fund'
        WHEN method = 'voucher' THEN 'vouchers' WHEN method = 'trial' THEN 'trial_credit' ELSE 'provider_clearing' END
$$;

-- As before, and trial credit may lapse.
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

-- For which addresses it was given. email_hash is of the address: it stays when the account is closed, so that none
-- gets it again, and goes with the names on the receipts.
CREATE TABLE trials (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_hash  bytea CONSTRAINT trials_email_hash_check CHECK (length(email_hash) = 32),
    given       timestamptz NOT NULL,
    lapses      timestamptz NOT NULL,
    payment     integer REFERENCES payments,
    -- When it lapsed, and the payment that took what was not used; none: all was used.
    lapsed      timestamptz,
    taken       integer REFERENCES payments,
    CONSTRAINT trials_lapses_after_given CHECK (lapses > given),
    CONSTRAINT trials_lapsed_in_time CHECK (lapsed >= lapses),
    CONSTRAINT trials_taken_when_lapsed CHECK (taken IS NULL OR lapsed IS NOT NULL)
);
CREATE UNIQUE INDEX trials_email_once ON trials (email_hash);
CREATE UNIQUE INDEX trials_payment_once ON trials (payment);
CREATE UNIQUE INDEX trials_taken_once ON trials (taken);
CREATE INDEX trials_to_lapse ON trials (lapses) WHERE lapsed IS NULL;

-- What was given or taken stays so.
CREATE FUNCTION check_trial() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.given, NEW.lapses) <> (OLD.id, OLD.given, OLD.lapses)
        OR OLD.payment IS NOT NULL AND NEW.payment IS DISTINCT FROM OLD.payment
        OR OLD.lapsed IS NOT NULL AND (NEW.lapsed, NEW.taken) IS DISTINCT FROM (OLD.lapsed, OLD.taken)
        OR NEW.email_hash IS DISTINCT FROM OLD.email_hash AND NEW.email_hash IS NOT NULL
        OR NEW.payment IS DISTINCT FROM OLD.payment AND NOT EXISTS (SELECT FROM payments p
            WHERE p.id = NEW.payment AND p.method = 'trial' AND p.dollars > 0)
        OR NEW.taken IS NOT NULL AND NOT EXISTS (SELECT FROM payments p JOIN payments g ON g.id = NEW.payment
            WHERE p.id = NEW.taken AND p.method = 'trial' AND p.dollars < 0 AND p.email = g.email) THEN
        RAISE EXCEPTION 'trial credit % stays what it is', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'trials_stay',
                HINT = 'To take it back, invalidate its payment.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER trials_checked BEFORE UPDATE OR DELETE ON trials FOR EACH ROW EXECUTE FUNCTION check_trial();

-- An account has it once, whoever writes, and not while it is being closed.
CREATE FUNCTION check_trial_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Two at the same time wait for each other here.
    PERFORM FROM accounts WHERE email = NEW.email FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM payments WHERE email = NEW.email AND method = 'trial' AND dollars > 0) THEN
        RAISE EXCEPTION 'the account % has had its trial credit', NEW.email
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_trial_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_trial_once BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.method = 'trial' AND NEW.dollars > 0) EXECUTE FUNCTION check_trial_payment();
DROP TRIGGER payments_account_open ON payments;
CREATE TRIGGER payments_account_open BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NULL AND NEW.dollars > 0 AND NEW.method IN ('cash', 'bank', 'opening', 'assigned',
        'play', 'voucher', 'solidarity', 'trial'))
    EXECUTE FUNCTION refuse_while_closing();

-- As before, and trial credit is nothing that was paid.
CREATE OR REPLACE FUNCTION vms_by_age(account text, at timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM account_limits) THEN coalesce((
        SELECT max(l.max_vms) FROM account_limits l, accounts a LEFT JOIN account_totals t ON t.email = a.email
        WHERE a.email = account AND l.after_days * interval '1 day' <= greatest(interval '0', at - a.created)
            AND l.paid <= coalesce(t.paid, 0) - (SELECT coalesce(sum(p.dollars), 0) FROM payments p
                WHERE p.email = account AND p.method = 'trial' AND NOT p.invalidated)), 0) END
$$;

-- As before, and with the names goes what was kept of the address for trial credit.
CREATE OR REPLACE FUNCTION forget_receipts(closing bigint, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pseudonym text;
BEGIN
    UPDATE account_closings SET forgotten = at, reason = ''
    WHERE id = closing AND forget <= at AND forgotten IS NULL RETURNING email INTO pseudonym;
    UPDATE receipts SET name = '', address = '', tax_number = '' WHERE transaction IN (
        SELECT t.id FROM payments p JOIN ledger_transactions t ON t.payment = p.id WHERE p.email = pseudonym);
    UPDATE payments SET note = '' WHERE email = pseudonym AND note <> '';
    UPDATE trials SET email_hash = NULL WHERE payment IN (SELECT id FROM payments WHERE email = pseudonym);
    UPDATE bank_lines SET payer = '', message = '' WHERE email = pseudonym;
END $$;

-- Price levels: the same for several prices, of which people choose theirs. Without one everybody pays the standard.
CREATE TABLE price_levels (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CONSTRAINT price_levels_name_check CHECK (length(name) BETWEEN 1 AND 40),
    -- Of the standard price.
    percent     integer NOT NULL CONSTRAINT price_levels_percent_check CHECK (percent BETWEEN 1 AND 1000),
    created     timestamptz NOT NULL,
    -- Nobody chooses it any more; who has it keeps it.
    retired     timestamptz
);
CREATE UNIQUE INDEX price_levels_name_once ON price_levels (lower(name)) WHERE retired IS NULL;

-- What accounts have chosen, the newest of which counts. No level: the standard price.
CREATE TABLE level_choices (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    level       bigint REFERENCES price_levels,
    chosen      timestamptz NOT NULL
);
CREATE INDEX level_choices_email ON level_choices (email, id);

CREATE FUNCTION check_price_level() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.name, NEW.percent, NEW.created)
            IS DISTINCT FROM (OLD.id, OLD.name, OLD.percent, OLD.created)
        OR OLD.retired IS NOT NULL AND NEW.retired IS DISTINCT FROM OLD.retired THEN
        RAISE EXCEPTION 'price level % stays what it is: retire it, and add another one', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'price_levels_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER price_levels_checked BEFORE UPDATE OR DELETE ON price_levels
    FOR EACH ROW EXECUTE FUNCTION check_price_level();

CREATE FUNCTION check_level_choice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (NEW.id, NEW.level, NEW.chosen)
            IS DISTINCT FROM (OLD.id, OLD.level, OLD.chosen) THEN
        RAISE EXCEPTION 'choices of price levels are only added: they are neither changed nor deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'level_choices_stay';
    ELSIF TG_OP = 'INSERT' AND EXISTS (SELECT FROM price_levels WHERE id = NEW.level AND retired IS NOT NULL) THEN
        RAISE EXCEPTION 'price level % is not offered any more', NEW.level
            USING ERRCODE = 'check_violation', CONSTRAINT = 'level_choices_are_offered';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER level_choices_checked BEFORE INSERT OR UPDATE OR DELETE ON level_choices
    FOR EACH ROW EXECUTE FUNCTION check_level_choice();

-- What an account pays of the standard price, in percent.
CREATE FUNCTION price_percent(account text) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT l.percent FROM level_choices c LEFT JOIN price_levels l ON l.id = c.level
        WHERE c.email = account ORDER BY c.id DESC LIMIT 1), 100)
$$;

-- A price at a level, in whole units of the currency.
CREATE FUNCTION price_at(dollars numeric, percent integer) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN percent = 100 THEN dollars
        ELSE round(dollars * percent / 100, (SELECT decimals FROM currency)) END
$$;

-- The level at which a VM that follows its size has its price.
ALTER TABLE vms ADD COLUMN price_percent integer NOT NULL DEFAULT 100 CONSTRAINT vms_price_percent_check
    CHECK (price_percent BETWEEN 1 AND 1000);
DROP TRIGGER vms_own_price ON vms;
CREATE TRIGGER vms_own_price BEFORE UPDATE OF dollars_per_month ON vms FOR EACH ROW
    WHEN (NEW.dollars_per_month <> OLD.dollars_per_month AND NEW.price_from = OLD.price_from
        AND NEW.price_percent = OLD.price_percent)
    EXECUTE FUNCTION keep_own_price();
