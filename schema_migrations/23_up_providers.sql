-- capsul: no transaction
-- Payments through providers, and from the bank. docs/decisions/0015 says why they have this shape.

-- A payment that somebody makes through a provider: written before the provider is asked to make its checkout, and then
-- whatever the provider says of it. Sums are what the provider says now, not what happened to them.
CREATE TABLE provider_payments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text NOT NULL CONSTRAINT provider_payments_provider_check CHECK (provider IN ('stripe', 'btcpay')),
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    amount      numeric NOT NULL CONSTRAINT provider_payments_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    -- The idempotency key of the call that makes the checkout; the provider keeps it with the payment.
    key         text NOT NULL,
    created     timestamptz NOT NULL,
    return_to   text NOT NULL,
    -- The provider's IDs of its checkout and of the charge, and where the checkout is.
    reference   text,
    charge      text,
    url         text NOT NULL DEFAULT '',
    status      text NOT NULL DEFAULT 'new' CONSTRAINT provider_payments_status_check
        CHECK (status IN ('new', 'open', 'pending', 'paid', 'expired', 'failed')),
    received    numeric NOT NULL DEFAULT 0 CONSTRAINT provider_payments_received_check CHECK (received >= 0),
    refunded    numeric NOT NULL DEFAULT 0 CONSTRAINT provider_payments_refunded_check CHECK (refunded >= 0),
    -- Under dispute, or lost by one.
    held        numeric NOT NULL DEFAULT 0 CONSTRAINT provider_payments_held_check CHECK (held >= 0),
    dispute     text NOT NULL DEFAULT '' CONSTRAINT provider_payments_dispute_check
        CHECK (dispute IN ('', 'open', 'lost', 'won')),
    fee         numeric NOT NULL DEFAULT 0 CONSTRAINT provider_payments_fee_check
        CHECK (fee >= 0 AND fee = round(fee, 2)),
    -- What was last decided to count for the account.
    credited    numeric NOT NULL DEFAULT 0 CONSTRAINT provider_payments_credited_check
        CHECK (credited >= 0 AND credited = round(credited, 2)),
    asked       timestamptz,
    -- When the provider is asked next; null: it is final. claimed: the epoch of the Hub that is asking.
    next_poll   timestamptz,
    claimed     bigint,
    tries       integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    problem     text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX provider_payments_key_once ON provider_payments (key);
CREATE UNIQUE INDEX provider_payments_reference_once ON provider_payments (provider, reference);
CREATE UNIQUE INDEX provider_payments_charge_once ON provider_payments (provider, charge);
CREATE INDEX provider_payments_email_id ON provider_payments (email, id);
CREATE INDEX provider_payments_next_poll ON provider_payments (next_poll) WHERE next_poll IS NOT NULL;
CREATE INDEX provider_payments_claimed ON provider_payments (claimed) WHERE claimed IS NOT NULL;
CREATE INDEX provider_payments_problem ON provider_payments (id) WHERE problem <> '';

-- Money that goes back: written before the provider is asked.
CREATE TABLE provider_refunds (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment     bigint NOT NULL REFERENCES provider_payments,
    amount      numeric NOT NULL CONSTRAINT provider_refunds_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    key         text NOT NULL,
    reason      text NOT NULL,
    actor       text NOT NULL,
    created     timestamptz NOT NULL,
    status      text NOT NULL DEFAULT 'open' CONSTRAINT provider_refunds_status_check
        CHECK (status IN ('open', 'done', 'refused')),
    reference   text,
    problem     text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX provider_refunds_key_once ON provider_refunds (key);
CREATE INDEX provider_refunds_payment ON provider_refunds (payment, id);

-- What providers have told, once each. The text is kept for people; nothing is decided by it.
CREATE TABLE provider_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text NOT NULL,
    event       text NOT NULL CONSTRAINT provider_events_event_check CHECK (length(event) BETWEEN 1 AND 255),
    type        text NOT NULL,
    received    timestamptz NOT NULL,
    body        text NOT NULL CONSTRAINT provider_events_body_check CHECK (length(body) <= 65536),
    payment     bigint REFERENCES provider_payments,
    handled     timestamptz
);
CREATE UNIQUE INDEX provider_events_once ON provider_events (provider, event);
CREATE INDEX provider_events_payment ON provider_events (payment, id);
CREATE INDEX provider_events_waiting ON provider_events (payment) WHERE handled IS NULL;
CREATE INDEX provider_events_received ON provider_events (received) WHERE body <> '';

-- Messages that claimed to be a provider's, and were refused: one row for each provider, whoever sends how many.
CREATE TABLE provider_refusals (
    provider    text PRIMARY KEY,
    since       timestamptz NOT NULL,
    last        timestamptz NOT NULL,
    count       bigint NOT NULL,
    problem     text NOT NULL
);

-- What people write on a transfer, so that it is known whose it is.
CREATE TABLE account_references (
    email       text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE,
    code        text NOT NULL CONSTRAINT account_references_code_check CHECK (code ~ '^[2-9A-HJKMNP-Z]{8}$')
);
CREATE UNIQUE INDEX account_references_code_once ON account_references (code);

-- Money that a bank says has arrived. waiting: nobody has looked at it. assigned: it is a payment. kept: booked, but
-- nobody knows yet whose it is. ignored: it is not a customer's.
CREATE TABLE bank_lines (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The bank's reference of the entry, or a hash of what it says.
    entry       text NOT NULL,
    booked      date NOT NULL,
    amount      numeric NOT NULL CONSTRAINT bank_lines_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    payer       text NOT NULL,
    message     text NOT NULL,
    imported    timestamptz NOT NULL,
    actor       text NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CONSTRAINT bank_lines_state_check
        CHECK (state IN ('waiting', 'assigned', 'kept', 'ignored')),
    -- Whose code is in the message; later, whose it is.
    email       text REFERENCES accounts ON UPDATE CASCADE,
    payment     integer REFERENCES payments,
    CONSTRAINT bank_lines_assigned_is_a_payment CHECK ((state = 'assigned') = (payment IS NOT NULL))
);
CREATE UNIQUE INDEX bank_lines_entry_once ON bank_lines (entry);
CREATE UNIQUE INDEX bank_lines_payment_once ON bank_lines (payment);
CREATE INDEX bank_lines_email ON bank_lines (email);
CREATE INDEX bank_lines_waiting ON bank_lines (id) WHERE state IN ('waiting', 'kept');

-- The payment of a provider's payment: at most one counts. Another amount is another row, and the old one is
-- invalidated.
ALTER TABLE payments ADD COLUMN provider_payment bigint;
ALTER TABLE payments ADD CONSTRAINT payments_provider_payment_fkey FOREIGN KEY (provider_payment)
    REFERENCES provider_payments NOT VALID;
ALTER TABLE payments VALIDATE CONSTRAINT payments_provider_payment_fkey;
CREATE INDEX CONCURRENTLY payments_provider_payment ON payments (provider_payment) WHERE provider_payment IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY payments_provider_payment_counts_once ON payments (provider_payment)
    WHERE provider_payment IS NOT NULL AND NOT invalidated;
-- What was allowed still is, so the rows that are there are not read again.
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_method_check;
ALTER TABLE payments ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening', 'bank', 'assigned')) NOT VALID;

-- The ledger has the bank's account, and what providers keep.
ALTER TABLE ledger_accounts DROP CONSTRAINT IF EXISTS ledger_accounts_type_check;
ALTER TABLE ledger_accounts ADD CONSTRAINT ledger_accounts_type_check CHECK (type IN ('customer', 'usage_income',
    'cash', 'bank', 'provider_clearing', 'provider_fees', 'solidarity_fund', 'write_off', 'tax', 'to_be_assigned'))
    NOT VALID;
INSERT INTO ledger_accounts (id, type, name) VALUES (7, 'bank', '') ON CONFLICT DO NOTHING;
ALTER TABLE ledger_transactions DROP CONSTRAINT IF EXISTS ledger_transactions_kind_check;
ALTER TABLE ledger_transactions ADD CONSTRAINT ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment', 'fee')) NOT VALID;

CREATE OR REPLACE FUNCTION payment_account_type(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank') THEN method WHEN method IN ('opening', 'assigned') THEN 'to_be_assigned'
        ELSE 'provider_clearing' END
$$;

CREATE OR REPLACE FUNCTION payment_account_name(method text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN method IN ('cash', 'bank', 'opening', 'assigned') THEN '' ELSE method END
$$;

-- As before, and a payment stays the one of its provider's payment.
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

-- What a provider keeps of a payment is posted as it becomes known, and so is each change of it.
CREATE FUNCTION post_provider_fee() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    more numeric := NEW.fee - CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.fee END;
BEGIN
    WITH added AS (
        INSERT INTO ledger_transactions (at, kind, entries, note)
        VALUES (now(), 'fee', 2, format('%s, provider payment %s', NEW.provider, NEW.id)) RETURNING id
    )
    INSERT INTO ledger_entries (transaction, line, entries, account, amount)
    SELECT d.id, s.line, 2, a.id, s.amount FROM added d,
        (VALUES (1, 'provider_fees', more), (2, 'provider_clearing', -more)) AS s (line, type, amount)
        JOIN ledger_accounts a ON a.type = s.type AND a.name = NEW.provider AND a.email IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_payments_fee_added AFTER INSERT ON provider_payments
    FOR EACH ROW WHEN (NEW.fee <> 0) EXECUTE FUNCTION post_provider_fee();
CREATE TRIGGER provider_payments_fee_changed AFTER UPDATE ON provider_payments
    FOR EACH ROW WHEN (NEW.fee <> OLD.fee) EXECUTE FUNCTION post_provider_fee();

-- Wakes those who ask providers.
CREATE FUNCTION announce_provider_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_payments', ARRAY['']);
    RETURN NULL;
END $$;
CREATE TRIGGER provider_payments_announced_insert AFTER INSERT ON provider_payments
    FOR EACH ROW EXECUTE FUNCTION announce_provider_payment();
CREATE TRIGGER provider_payments_announced_update AFTER UPDATE ON provider_payments
    FOR EACH ROW WHEN (NEW.claimed IS NULL AND NEW.next_poll < coalesce(OLD.next_poll, 'infinity'))
    EXECUTE FUNCTION announce_provider_payment();
