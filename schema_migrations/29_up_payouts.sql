-- What a provider has sent to the bank, each payout once, so that the ledger knows what is still with the provider.
CREATE TABLE provider_payouts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text NOT NULL CONSTRAINT provider_payouts_provider_check CHECK (provider IN ('stripe', 'btcpay')),
    -- The provider's ID.
    reference   text NOT NULL CONSTRAINT provider_payouts_reference_check CHECK (length(reference) BETWEEN 1 AND 255),
    arrived     date NOT NULL,
    -- What of it comes from payments here. Negative: the provider took it from the bank.
    amount      numeric NOT NULL CONSTRAINT provider_payouts_amount_check
        CHECK (abs(amount) < 10000000000 AND amount = round(amount, 2)),
    -- What the provider kept before, and not for a payment.
    fees        numeric NOT NULL CONSTRAINT provider_payouts_fees_check
        CHECK (abs(fees) < 10000000000 AND fees = round(fees, 2)),
    -- The bank did not take it: it is with the provider again.
    returned    boolean NOT NULL DEFAULT FALSE,
    recorded    timestamptz NOT NULL,
    actor       text NOT NULL
);
CREATE UNIQUE INDEX provider_payouts_once ON provider_payouts (provider, reference);

ALTER TABLE ledger_transactions DROP CONSTRAINT IF EXISTS ledger_transactions_kind_check;
ALTER TABLE ledger_transactions ADD CONSTRAINT ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment', 'fee', 'payout')) NOT VALID;

CREATE FUNCTION check_provider_payout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.provider, NEW.reference, NEW.arrived, NEW.amount, NEW.fees)
            IS DISTINCT FROM (OLD.id, OLD.provider, OLD.reference, OLD.arrived, OLD.amount, OLD.fees) THEN
        RAISE EXCEPTION 'payout % stays what it is: the ledger has it', OLD.reference
            USING ERRCODE = 'check_violation', CONSTRAINT = 'provider_payouts_stay', HINT = format(
                'If it came back, say so: UPDATE provider_payouts SET returned = TRUE WHERE id = %s', OLD.id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER provider_payouts_stay BEFORE UPDATE OR DELETE ON provider_payouts
    FOR EACH ROW EXECUTE FUNCTION check_provider_payout();

CREATE FUNCTION post_provider_payout() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    way integer := CASE WHEN NEW.returned THEN -1 ELSE 1 END;
BEGIN
    WITH parts AS (
        SELECT s.type, s.name, s.amount, row_number() OVER (ORDER BY s.line) AS line, count(*) OVER () AS entries
        FROM (VALUES (1, 'bank', '', way * NEW.amount), (2, 'provider_fees', NEW.provider, way * NEW.fees),
                (3, 'provider_clearing', NEW.provider, -way * (NEW.amount + NEW.fees))) AS s (line, type, name, amount)
        WHERE s.amount <> 0
    ), added AS (
        INSERT INTO ledger_transactions (at, kind, entries, note)
        SELECT CASE TG_OP WHEN 'INSERT' THEN NEW.arrived::timestamp AT TIME ZONE 'UTC' ELSE now() END, 'payout',
            entries, format('%s, payout %s', NEW.provider, NEW.reference)
        FROM parts LIMIT 1
        RETURNING id
    )
    INSERT INTO ledger_entries (transaction, line, entries, account, amount)
    SELECT d.id, p.line, p.entries, a.id, p.amount FROM added d, parts p
        JOIN ledger_accounts a ON a.type = p.type AND a.name = p.name AND a.email IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_payouts_posted AFTER INSERT ON provider_payouts
    FOR EACH ROW WHEN (NOT NEW.returned) EXECUTE FUNCTION post_provider_payout();
CREATE TRIGGER provider_payouts_turned AFTER UPDATE ON provider_payouts
    FOR EACH ROW WHEN (NEW.returned <> OLD.returned) EXECUTE FUNCTION post_provider_payout();
