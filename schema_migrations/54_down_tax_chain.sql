DROP TRIGGER payment_taxes_checked ON payment_taxes;
CREATE OR REPLACE FUNCTION check_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.transaction <> OLD.transaction OR NEW.gross <> OLD.gross THEN
        RAISE EXCEPTION 'what was paid in transaction % stays what it is: the ledger has it', OLD.transaction
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_taxes_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION post_payment_tax() RETURNS trigger LANGUAGE plpgsql AS $$
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
DROP FUNCTION rate_of(bigint);
CREATE OR REPLACE FUNCTION seller_of(of_payment integer) RETURNS bigint LANGUAGE sql STABLE AS $$
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
