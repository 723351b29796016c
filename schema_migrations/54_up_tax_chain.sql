-- The seller of money that was set aside is that of what was paid; the tax of a row is checked against its payment.

-- Who sells by a payment: as on its first receipt, or that of the payment whose rest it is; as for that payment; or who
-- sold when it came. What is set aside for a closed account is added before its payment is posted, so it follows that
-- one in all of this. In PL/pgSQL, because a plan is kept there: it is asked for each payment.
CREATE OR REPLACE FUNCTION seller_of(of_payment integer) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    this record;
    others integer[];
    found_seller bigint;
BEGIN
    SELECT b.id, b.created, b.rest_of, b.provider_payment INTO this
    FROM payments p JOIN payments b ON b.id = coalesce(p.offsets, p.id) WHERE p.id = of_payment;
    others := ARRAY(SELECT q.id FROM payments q WHERE q.provider_payment = this.provider_payment AND q.id <> this.id);
    IF this.rest_of IS NOT NULL THEN others := others || this.rest_of; END IF;
    found_seller := (SELECT r.seller FROM ledger_transactions t JOIN receipts r ON r.transaction = t.id
        WHERE t.payment = ANY(this.id || others) ORDER BY t.payment <> this.id, r.number LIMIT 1);
    IF found_seller IS NULL AND others <> '{}' THEN
        found_seller := (SELECT x.seller FROM ledger_transactions t JOIN payment_taxes x ON x.transaction = t.id
            WHERE t.payment = ANY(others) AND t.payment < this.id ORDER BY t.id LIMIT 1);
    END IF;
    RETURN coalesce(found_seller,
        (SELECT l.id FROM sellers l WHERE l.active_from <= this.created ORDER BY l.active_from DESC LIMIT 1));
END $$;

-- A correction names both rates.
CREATE OR REPLACE FUNCTION post_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    more numeric := NEW.tax - CASE TG_OP WHEN 'INSERT' THEN 0 ELSE OLD.tax END;
BEGIN
    IF more = 0 THEN RETURN NULL; END IF;
    WITH added AS (
        INSERT INTO ledger_transactions (at, kind, entries, note)
        SELECT t.at, 'tax', 2, rate_of(NEW.seller)
            || CASE TG_OP WHEN 'INSERT' THEN '' ELSE ' instead of ' || rate_of(OLD.seller) END
            || format(' in payment %s', t.payment)
        FROM ledger_transactions t WHERE t.id = NEW.transaction
        RETURNING id
    )
    INSERT INTO ledger_entries (transaction, line, entries, account, amount)
    SELECT d.id, s.line, 2, a.id, s.amount FROM added d,
        (VALUES (1, 'tax_in_prices', more), (2, 'tax', -more)) AS s (line, type, amount)
        JOIN ledger_accounts a ON a.type = s.type AND a.email IS NULL;
    RETURN NULL;
END $$;

-- 'VAT 19 %', or 'no tax'.
CREATE FUNCTION rate_of(line bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN tax_percent = 0 THEN 'no tax' ELSE format('%s %s %%', tax_label, trim_scale(tax_percent)) END
    FROM sellers WHERE id = line
$$;

CREATE OR REPLACE FUNCTION check_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM ledger_transactions t JOIN payments p ON p.id = t.payment
            WHERE t.id = NEW.transaction AND NEW.gross = CASE t.kind WHEN 'reversal' THEN -p.dollars ELSE p.dollars END)
        THEN
            RAISE EXCEPTION 'transaction % is not one of a payment of %', NEW.transaction, NEW.gross
                USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_taxes_of_payment';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP <> 'UPDATE' OR NEW.transaction <> OLD.transaction OR NEW.gross <> OLD.gross THEN
        RAISE EXCEPTION 'what was paid in transaction % stays what it is: the ledger has it', OLD.transaction
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_taxes_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_taxes_checked BEFORE INSERT ON payment_taxes
    FOR EACH ROW EXECUTE FUNCTION check_payment_tax();

-- What was set aside before this.
DO $$
BEGIN
    PERFORM tax_payments(ARRAY(SELECT id FROM payments WHERE offsets IS NOT NULL));
END $$;
