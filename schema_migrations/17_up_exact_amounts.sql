-- What the ledger of the next script needs of tables that are in use. Each statement is short, so that nobody waits.

-- numeric(12,2) rounds in silence what has too many decimal places, and takes NaN. From here on a payment is what was
-- written, and is refused if that is no amount (check_payment in the next script).
-- lint: accept rewrite because numeric(12,2) to numeric only changes the catalog.
ALTER TABLE payments ALTER COLUMN dollars TYPE numeric;
ALTER TABLE payments ADD CONSTRAINT payments_dollars_is_an_amount
    CHECK (dollars < 10000000000 AND dollars = round(dollars, 2)) NOT VALID;
-- Balances that an operator carries over from a database that was lost.
-- lint: accept validates-all because it is not validated: the old list was narrower.
ALTER TABLE payments DROP CONSTRAINT IF EXISTS payments_method_check, ADD CONSTRAINT payments_method_check
    CHECK (method IN ('cash', 'play', 'stripe', 'btcpay', 'opening')) NOT VALID;

-- Of the ledger: the posted balance; the posted usage; until when usage is posted, and what exactly it was until then
-- (as in used: dollars a month times seconds).
ALTER TABLE account_totals
    ADD COLUMN posted numeric NOT NULL DEFAULT 0,
    ADD COLUMN charged numeric NOT NULL DEFAULT 0,
    ADD COLUMN metered timestamptz,
    ADD COLUMN metered_used numeric NOT NULL DEFAULT 0;
