-- The tax that is in payments, in the ledger. docs/decisions/0018 says why it has this shape.

-- lint: accept exclusive-lock because it keeps out only those who write; all that was paid is looked at.
LOCK TABLE payments, receipts, sellers IN SHARE ROW EXCLUSIVE MODE;
-- Takes from the income what was tax in the prices.
ALTER TABLE ledger_accounts DROP CONSTRAINT IF EXISTS ledger_accounts_type_check, ADD CONSTRAINT
    ledger_accounts_type_check CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing',
    'provider_fees', 'solidarity_fund', 'vouchers', 'trial_credit', 'write_off', 'tax', 'tax_in_prices',
    'to_be_assigned')) NOT VALID;
INSERT INTO ledger_accounts (id, type, name) VALUES (10, 'tax_in_prices', '') ON CONFLICT DO NOTHING;
ALTER TABLE ledger_transactions DROP CONSTRAINT IF EXISTS ledger_transactions_kind_check;
ALTER TABLE ledger_transactions ADD CONSTRAINT ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment', 'fee', 'payout', 'tax')) NOT VALID;

-- The tax in each transaction of a payment, by the line of the seller that is in force for it. A change is posted.
CREATE TABLE payment_taxes (
    transaction bigint PRIMARY KEY REFERENCES ledger_transactions,
    seller      bigint NOT NULL REFERENCES sellers,
    gross       numeric NOT NULL,
    net         numeric NOT NULL,
    tax         numeric NOT NULL,
    CONSTRAINT payment_taxes_gross_is_net_and_tax CHECK (gross = net + tax),
    CONSTRAINT payment_taxes_tax_is_part CHECK (abs(net) <= abs(gross) AND abs(tax) <= abs(gross)),
    CONSTRAINT payment_taxes_as_on_receipts UNIQUE (transaction, seller, gross, net, tax)
);

-- There are receipts for what somebody has paid here.
CREATE FUNCTION payment_has_receipt(method text, dollars numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT dollars > 0 AND method NOT IN ('opening', 'solidarity', 'voucher', 'trial', 'write_off')
$$;

-- Tax is in what has a receipt. What was set aside, because the account was closed, is none of it: it gets tax when it
-- is assigned.
CREATE FUNCTION payment_is_taxed(method text, dollars numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT payment_has_receipt(method, dollars) OR method = 'assigned' AND dollars < 0
$$;

-- The only place that rounds tax: prices include it, the net amount is rounded to whole units, and the tax is the rest.
-- The zeros make the quotient exact enough: it is half a unit, or at least 1/40,000 of a unit away from that.
CREATE FUNCTION net_of(gross numeric, percent numeric) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT round(gross * 100.000000000000000000000000 / (100 + percent), (SELECT decimals FROM currency))
$$;

-- Who sells by a payment: as on its first receipt, or that of the payment whose rest it is; as for that payment; or who
-- sold when it came.
CREATE FUNCTION seller_of(of_payment integer) RETURNS bigint LANGUAGE sql STABLE AS $$
    WITH same AS (
        SELECT p.id AS payment FROM payments p WHERE p.id = of_payment
        UNION SELECT p.rest_of FROM payments p WHERE p.id = of_payment
        UNION SELECT p.offsets FROM payments p WHERE p.id = of_payment
        UNION SELECT q.id FROM payments p JOIN payments q ON q.provider_payment = p.provider_payment
            WHERE p.id = of_payment
    )
    SELECT coalesce(
        (SELECT r.seller FROM same s JOIN ledger_transactions t ON t.payment = s.payment
            JOIN receipts r ON r.transaction = t.id ORDER BY s.payment <> of_payment, r.number LIMIT 1),
        (SELECT x.seller FROM same s JOIN ledger_transactions t ON t.payment = s.payment
            JOIN payment_taxes x ON x.transaction = t.id WHERE s.payment < of_payment ORDER BY t.id LIMIT 1),
        (SELECT l.id FROM ledger_transactions t JOIN sellers l ON l.active_from <= t.at
            WHERE t.payment = of_payment AND t.turn = 1 ORDER BY l.active_from DESC LIMIT 1))
$$;

-- Whatever of these payments has another tax than it should, or none yet. Those that others follow come first.
CREATE FUNCTION tax_payments(ids integer[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    this record;
BEGIN
    IF NOT EXISTS (SELECT FROM sellers) THEN RETURN; END IF;
    FOR this IN SELECT p.id, p.dollars FROM payments p
        WHERE p.id = ANY(ids) AND payment_is_taxed(p.method, p.dollars) ORDER BY p.id
    LOOP
        INSERT INTO payment_taxes (transaction, seller, gross, net, tax)
        SELECT t.id, s.id, a.gross, n.net, a.gross - n.net
        FROM ledger_transactions t JOIN sellers s ON s.id = seller_of(this.id),
            LATERAL (SELECT CASE t.kind WHEN 'reversal' THEN -this.dollars ELSE this.dollars END AS gross) AS a,
            LATERAL (SELECT net_of(a.gross, s.tax_percent) AS net) AS n
        WHERE t.payment = this.id ORDER BY t.id
        ON CONFLICT (transaction) DO UPDATE SET seller = excluded.seller, net = excluded.net, tax = excluded.tax
        WHERE payment_taxes.seller <> excluded.seller;
    END LOOP;
END $$;

-- It is of the time of the payment: a month's tax is that of its receipts, whenever a rate was entered.
CREATE FUNCTION post_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    more numeric := NEW.tax - CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.tax END;
BEGIN
    IF more = 0 THEN RETURN NULL; END IF;
    WITH added AS (
        INSERT INTO ledger_transactions (at, kind, entries, note)
        SELECT t.at, 'tax', 2, format('%s %s %% in payment %s', s.tax_label, trim_scale(s.tax_percent), t.payment)
        FROM ledger_transactions t, sellers s WHERE t.id = NEW.transaction
            AND s.id = CASE WHEN NEW.tax = 0 THEN OLD.seller ELSE NEW.seller END
        RETURNING id
    )
    INSERT INTO ledger_entries (transaction, line, entries, account, amount)
    SELECT d.id, s.line, 2, a.id, s.amount FROM added d,
        (VALUES (1, 'tax_in_prices', more), (2, 'tax', -more)) AS s (line, type, amount)
        JOIN ledger_accounts a ON a.type = s.type AND a.email IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER payment_taxes_posted AFTER INSERT OR UPDATE ON payment_taxes
    FOR EACH ROW EXECUTE FUNCTION post_payment_tax();

CREATE FUNCTION check_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.transaction <> OLD.transaction OR NEW.gross <> OLD.gross THEN
        RAISE EXCEPTION 'what was paid in transaction % stays what it is: the ledger has it', OLD.transaction
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_taxes_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_taxes_stay BEFORE UPDATE OR DELETE ON payment_taxes
    FOR EACH ROW EXECUTE FUNCTION check_payment_tax();
CREATE TRIGGER payment_taxes_only_grow BEFORE TRUNCATE ON payment_taxes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

-- Payments wait while a line is added, so that each has the tax of the line that is in force for it.
CREATE FUNCTION lock_payments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE payments IN EXCLUSIVE MODE;
    RETURN NULL;
END $$;
CREATE TRIGGER sellers_alone BEFORE INSERT ON sellers FOR EACH STATEMENT EXECUTE FUNCTION lock_payments();

-- Also for what was paid before it was entered, except where there are receipts already.
CREATE FUNCTION tax_since() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tax_payments(ARRAY(SELECT t.payment FROM ledger_transactions t
        WHERE t.payment IS NOT NULL AND t.turn = 1 AND t.at >= NEW.active_from));
    RETURN NULL;
END $$;
CREATE TRIGGER sellers_taxed AFTER INSERT ON sellers FOR EACH ROW EXECUTE FUNCTION tax_since();

CREATE OR REPLACE FUNCTION post_payments() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids integer[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ids := (SELECT array_agg(id ORDER BY id) FROM new_rows WHERE NOT invalidated);
    ELSE
        ids := (SELECT array_agg(n.id ORDER BY n.id) FROM new_rows n JOIN old_rows o ON o.id = n.id
            WHERE n.invalidated <> o.invalidated);
    END IF;
    IF ids IS NULL THEN RETURN NULL; END IF;
    INSERT INTO ledger_accounts (type, email)
    SELECT DISTINCT 'customer', p.email FROM payments p WHERE p.id = ANY(ids)
        AND NOT EXISTS (SELECT FROM ledger_accounts a WHERE a.email = p.email)
    ON CONFLICT DO NOTHING;
    WITH turns AS (
        SELECT p.id, p.created, CASE WHEN p.invalidated THEN -p.dollars ELSE p.dollars END AS amount, p.email,
            p.method, p.invalidated,
            1 + (SELECT count(*) FROM ledger_transactions t WHERE t.payment = p.id)::integer AS turn
        FROM payments p WHERE p.id = ANY(ids)
    ), added AS (
        INSERT INTO ledger_transactions (at, kind, entries, payment, turn)
        SELECT CASE WHEN turn = 1 THEN created ELSE now() END,
            CASE WHEN invalidated THEN 'reversal' ELSE 'payment' END, 2, id, turn
        FROM turns ORDER BY id RETURNING id, payment
    )
    INSERT INTO ledger_entries (transaction, line, entries, account, amount)
    SELECT d.id, s.line, 2, s.account, s.amount FROM added d JOIN turns t ON t.id = d.payment,
        LATERAL (
            SELECT 1 AS line, (SELECT id FROM ledger_accounts WHERE email IS NULL
                AND type = payment_account_type(t.method) AND name = payment_account_name(t.method)) AS account,
                t.amount AS amount
            UNION ALL
            SELECT 2, (SELECT id FROM ledger_accounts WHERE email = t.email), -t.amount) AS s;
    PERFORM tax_payments(ids);
    RETURN NULL;
END $$;

-- What was paid until now: as on its receipts, and the rest as they would be made.
INSERT INTO payment_taxes (transaction, seller, gross, net, tax)
SELECT transaction, seller, gross, net, tax FROM receipts ORDER BY number;
DO $$
BEGIN
    PERFORM tax_payments(ARRAY(SELECT id FROM payments));
END $$;
-- So a receipt says what the ledger has.
ALTER TABLE receipts ADD CONSTRAINT receipts_as_taxed FOREIGN KEY (transaction, seller, gross, net, tax)
    REFERENCES payment_taxes (transaction, seller, gross, net, tax) NOT VALID;
-- lint: accept validates-all because receipts are few, and nobody writes them meanwhile
ALTER TABLE receipts VALIDATE CONSTRAINT receipts_as_taxed;
