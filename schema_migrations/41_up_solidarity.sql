-- The solidarity fund: what people give to it, and what accounts get from it, once or by the month. Its money is the
-- ledger's account 3; each movement is a payment of the method solidarity.

-- What is in the fund. The row is locked by whoever moves money, so that two cannot spend the same.
CREATE TABLE solidarity_fund (
    only_row    boolean PRIMARY KEY DEFAULT TRUE CONSTRAINT solidarity_fund_only_row_check CHECK (only_row),
    balance     numeric NOT NULL
);

-- An amount a month for an account. The first is due at once, each other a whole number of months later.
CREATE TABLE sponsorships (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    amount      numeric NOT NULL CONSTRAINT sponsorships_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    starts      timestamptz NOT NULL,
    -- What would be due then or later is not paid any more.
    until       timestamptz,
    -- How many were paid; each of them is a row of fund_movements.
    months      integer NOT NULL DEFAULT 0 CONSTRAINT sponsorships_months_check CHECK (months >= 0),
    next_due    timestamptz NOT NULL GENERATED ALWAYS AS
        ((starts AT TIME ZONE 'UTC' + months * interval '1 month') AT TIME ZONE 'UTC') STORED,
    actor       text NOT NULL,
    reason      text NOT NULL CONSTRAINT sponsorships_reason_check CHECK (length(reason) <= 200),
    ended       timestamptz,
    -- Since when one is due that the fund does not hold.
    short_since timestamptz,
    CONSTRAINT sponsorships_until_after_start CHECK (until > starts),
    CONSTRAINT sponsorships_ended_wants_nothing CHECK (ended IS NULL OR short_since IS NULL)
);
CREATE INDEX sponsorships_email ON sponsorships (email, id);
CREATE UNIQUE INDEX sponsorships_once ON sponsorships (email) WHERE ended IS NULL;
CREATE INDEX sponsorships_due ON sponsorships (next_due) WHERE ended IS NULL;

-- Payments to the fund or from it, each under a key that moves money once: that of a form, or a month of a sponsorship.
CREATE TABLE fund_movements (
    payment     integer PRIMARY KEY REFERENCES payments,
    key         text CONSTRAINT fund_movements_key_check CHECK (length(key) BETWEEN 16 AND 100),
    sponsorship bigint REFERENCES sponsorships,
    month       integer,
    CONSTRAINT fund_movements_month_or_key CHECK ((sponsorship IS NULL) = (month IS NULL)
        AND (sponsorship IS NULL) = (key IS NOT NULL))
);
CREATE UNIQUE INDEX fund_movements_key_once ON fund_movements (key);
CREATE UNIQUE INDEX fund_movements_month_once ON fund_movements (sponsorship, month);

CREATE FUNCTION check_fund_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'movements of the solidarity fund are only added: they are neither changed nor deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'fund_movements_stay',
                HINT = 'To take one back, invalidate its payment.';
    ELSIF NOT EXISTS (SELECT FROM payments p LEFT JOIN sponsorships s ON s.id = NEW.sponsorship
            WHERE p.id = NEW.payment AND p.method = 'solidarity'
                AND (NEW.sponsorship IS NULL OR (p.email, p.dollars, NEW.month) = (s.email, s.amount, s.months)
                    AND s.ended IS NULL AND s.next_due <= p.created AND (s.next_due < s.until) IS NOT FALSE)) THEN
        RAISE EXCEPTION 'payment % is not what this movement of the solidarity fund would be', NEW.payment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'fund_movements_are_due';
    END IF;
    UPDATE sponsorships SET months = months + 1, short_since = NULL WHERE id = NEW.sponsorship;
    RETURN NEW;
END $$;
CREATE TRIGGER fund_movements_checked BEFORE INSERT OR UPDATE OR DELETE ON fund_movements
    FOR EACH ROW EXECUTE FUNCTION check_fund_movement();

-- What was agreed stays; another amount is another sponsorship. Months are counted by their movements alone.
CREATE FUNCTION check_sponsorship() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.amount, NEW.starts) <> (OLD.id, OLD.amount, OLD.starts)
        OR NEW.until IS DISTINCT FROM OLD.until OR OLD.ended IS NOT NULL AND NEW.ended IS DISTINCT FROM OLD.ended
        OR NEW.months <> OLD.months AND (NEW.months <> OLD.months + 1 OR pg_trigger_depth() < 2) THEN
        RAISE EXCEPTION 'sponsorship % stays what it is: end it, and make another one', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sponsorships_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER sponsorships_checked BEFORE UPDATE OR DELETE ON sponsorships
    FOR EACH ROW EXECUTE FUNCTION check_sponsorship();

CREATE FUNCTION count_fund_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rest numeric;
BEGIN
    UPDATE solidarity_fund SET balance = balance - NEW.amount RETURNING balance INTO rest;
    IF rest IS NULL OR rest < 0 AND NEW.amount > 0 THEN
        RAISE EXCEPTION 'the solidarity fund holds %, so % cannot leave it', rest + NEW.amount, NEW.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'solidarity_fund_not_below_zero';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION refuse_fund_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the solidarity fund holds what the ledger says: post to the ledger, and it follows'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'solidarity_fund_follows_the_ledger';
END $$;

-- From here on nobody else posts until this is committed, so the sum is what the trigger goes on from.
CREATE TRIGGER ledger_entries_of_fund_counted AFTER INSERT ON ledger_entries
    FOR EACH ROW WHEN (NEW.account = 3) EXECUTE FUNCTION count_fund_entry();
INSERT INTO solidarity_fund (balance) SELECT coalesce(-sum(amount), 0) FROM ledger_entries WHERE account = 3;
CREATE TRIGGER solidarity_fund_stays BEFORE UPDATE OR DELETE ON solidarity_fund
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_fund_change();
CREATE TRIGGER solidarity_fund_not_emptied BEFORE TRUNCATE ON solidarity_fund
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_fund_change();

-- An account that is being closed gets nothing from the fund, either.
DROP TRIGGER payments_account_open ON payments;
CREATE TRIGGER payments_account_open BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NULL AND NEW.dollars > 0 AND NEW.method IN ('cash', 'bank', 'opening', 'assigned',
        'play', 'voucher', 'solidarity'))
    EXECUTE FUNCTION refuse_while_closing();

-- As before, and a closed account is sponsored no more.
CREATE OR REPLACE FUNCTION forget_person(person text, pseudonym text) RETURNS void LANGUAGE plpgsql AS $$
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
    UPDATE sponsorships SET reason = '', ended = coalesce(ended, now()), short_since = NULL WHERE email = person;
    UPDATE sponsorships SET actor = pseudonym WHERE actor = person;
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
