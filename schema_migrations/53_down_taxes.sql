-- Refused if the ledger has tax: nothing there is ever taken away.
LOCK TABLE payments, receipts, sellers, ledger_accounts IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE ledger_transactions DROP CONSTRAINT ledger_transactions_kind_check, ADD CONSTRAINT
    ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment', 'fee', 'payout'));
ALTER TABLE ledger_accounts DISABLE TRIGGER ledger_accounts_only_grow;
DELETE FROM ledger_accounts WHERE id = 10 AND NOT EXISTS (SELECT FROM ledger_entries WHERE account = 10);
ALTER TABLE ledger_accounts ENABLE TRIGGER ledger_accounts_only_grow;
ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_type_check, ADD CONSTRAINT ledger_accounts_type_check
    CHECK (type IN ('customer', 'usage_income', 'cash', 'bank', 'provider_clearing', 'provider_fees',
    'solidarity_fund', 'vouchers', 'trial_credit', 'write_off', 'tax', 'to_be_assigned'));
ALTER TABLE receipts DROP CONSTRAINT receipts_as_taxed;
DROP TRIGGER sellers_taxed ON sellers;
DROP TRIGGER sellers_alone ON sellers;
DROP FUNCTION tax_since();
DROP FUNCTION lock_payments();
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
    RETURN NULL;
END $$;
DROP TABLE payment_taxes;
DROP FUNCTION check_payment_tax();
DROP FUNCTION post_payment_tax();
DROP FUNCTION tax_payments(integer[]);
DROP FUNCTION seller_of(integer);
DROP FUNCTION net_of(numeric, numeric);
DROP FUNCTION payment_is_taxed(text, numeric);
DROP FUNCTION payment_has_receipt(text, numeric);
