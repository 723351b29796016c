ALTER TABLE account_totals DROP COLUMN metered_used, DROP COLUMN metered, DROP COLUMN charged, DROP COLUMN posted;
-- The programs of before do not know the method.
UPDATE payments SET method = 'cash' WHERE method = 'opening';
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay'));
ALTER TABLE payments DROP CONSTRAINT payments_dollars_is_an_amount;
ALTER TABLE payments ALTER COLUMN dollars TYPE numeric(12,2);
