-- Refused if the ledger has payouts: nothing there is ever taken away.
-- lint: accept validates-all because a ledger with payouts must refuse it
ALTER TABLE ledger_transactions DROP CONSTRAINT ledger_transactions_kind_check, ADD CONSTRAINT
    ledger_transactions_kind_check
    CHECK (kind IN ('payment', 'reversal', 'usage', 'correction', 'adjustment', 'fee'));
DROP TABLE provider_payouts;
DROP FUNCTION post_provider_payout();
DROP FUNCTION check_provider_payout();
