-- Receipts for payments. A receipt is the numbered paper of a transaction of the ledger, which is only added to: of one
-- in which a payment counts, or, as a credit note, of one in which it counts no longer. So it says the same for ever.

-- Who sells, and which tax is in the prices: lines with a date, never changed, because old receipts must not change.
CREATE TABLE sellers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    active_from timestamptz NOT NULL,
    name        text NOT NULL CONSTRAINT sellers_name_check CHECK (length(name) BETWEEN 1 AND 200),
    address     text NOT NULL CONSTRAINT sellers_address_check CHECK (length(address) BETWEEN 1 AND 500),
    tax_number  text NOT NULL DEFAULT '' CONSTRAINT sellers_tax_number_check CHECK (length(tax_number) <= 50),
    tax_label   text NOT NULL DEFAULT '' CONSTRAINT sellers_tax_label_check CHECK (length(tax_label) <= 30),
    tax_percent numeric(5,2) NOT NULL DEFAULT 0 CONSTRAINT sellers_tax_percent_check
        CHECK (tax_percent >= 0 AND tax_percent <= 100),
    CONSTRAINT sellers_tax_has_label CHECK (tax_percent = 0 OR tax_label <> '')
);
CREATE UNIQUE INDEX sellers_active_from_once ON sellers (active_from);

-- To whom a receipt is addressed, as the person wants it.
CREATE TABLE billing_addresses (
    email       text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE,
    name        text NOT NULL CONSTRAINT billing_addresses_name_check CHECK (length(name) <= 200),
    address     text NOT NULL CONSTRAINT billing_addresses_address_check CHECK (length(address) <= 500),
    tax_number  text NOT NULL CONSTRAINT billing_addresses_tax_number_check CHECK (length(tax_number) <= 50)
);

-- The row is locked while a number is given, so there are no gaps: who rolls back gives the number back.
CREATE TABLE receipt_numbers (
    only_row    boolean PRIMARY KEY DEFAULT TRUE CONSTRAINT receipt_numbers_only_row_check CHECK (only_row),
    last        integer NOT NULL DEFAULT 0
);
INSERT INTO receipt_numbers DEFAULT VALUES;

CREATE TABLE receipts (
    number      integer PRIMARY KEY,
    transaction bigint NOT NULL REFERENCES ledger_transactions,
    issued      timestamptz NOT NULL,
    seller      bigint NOT NULL REFERENCES sellers,
    -- A credit note: of which receipt.
    corrects    integer REFERENCES receipts,
    -- The customer as it was then.
    name        text NOT NULL,
    address     text NOT NULL,
    tax_number  text NOT NULL,
    gross       numeric NOT NULL,
    net         numeric NOT NULL,
    tax         numeric NOT NULL,
    CONSTRAINT receipts_gross_is_net_and_tax CHECK (gross = net + tax),
    CONSTRAINT receipts_credit_note_is_negative CHECK ((corrects IS NULL) = (gross > 0))
);
CREATE UNIQUE INDEX receipts_transaction_once ON receipts (transaction);
CREATE UNIQUE INDEX receipts_corrected_once ON receipts (corrects);

-- Whoever adds a receipt gets the next number, whatever they say.
CREATE FUNCTION number_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE receipt_numbers SET last = last + 1 RETURNING last INTO NEW.number;
    IF NEW.number <> 1 + coalesce((SELECT max(number) FROM receipts), 0) THEN
        RAISE EXCEPTION 'receipts are numbered without gaps: % is not the next number', NEW.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipts_without_gaps';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER receipts_numbered BEFORE INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION number_receipt();

CREATE FUNCTION refuse_receipt_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only added: they are neither changed nor deleted', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'receipts_stay';
END $$;
CREATE TRIGGER receipts_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();
CREATE TRIGGER sellers_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON sellers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();
CREATE TRIGGER receipt_numbers_stay BEFORE DELETE OR TRUNCATE ON receipt_numbers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_receipt_change();
