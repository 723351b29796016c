-- Vouchers: codes that an operator gives away or sells, and that add to a balance once.
CREATE TABLE vouchers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of the code, which is shown once and kept nowhere; hint is how it begins.
    code_hash   bytea NOT NULL CONSTRAINT vouchers_code_hash_check CHECK (length(code_hash) = 32),
    hint        text NOT NULL,
    amount      numeric NOT NULL CONSTRAINT vouchers_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    created     timestamptz NOT NULL,
    actor       text NOT NULL,
    note        text NOT NULL CONSTRAINT vouchers_note_check CHECK (length(note) <= 200),
    expires     timestamptz,
    -- The only account that may redeem it; empty: any.
    for_email   text NOT NULL CONSTRAINT vouchers_for_email_check CHECK (for_email = lower(for_email)),
    withdrawn   timestamptz,
    redeemed    timestamptz,
    payment     integer REFERENCES payments,
    CONSTRAINT vouchers_redeemed_is_a_payment CHECK ((redeemed IS NULL) = (payment IS NULL)),
    CONSTRAINT vouchers_redeemed_or_withdrawn CHECK (redeemed IS NULL OR withdrawn IS NULL),
    CONSTRAINT vouchers_redeemed_in_time CHECK (redeemed < expires)
);
CREATE UNIQUE INDEX vouchers_code_once ON vouchers (code_hash);
CREATE UNIQUE INDEX vouchers_payment_once ON vouchers (payment);
CREATE INDEX vouchers_open ON vouchers (for_email) WHERE redeemed IS NULL AND withdrawn IS NULL;

-- Codes that accounts have tried lately.
CREATE TABLE voucher_tries (
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    at          timestamptz NOT NULL
);
CREATE INDEX voucher_tries_email ON voucher_tries (email, at);

-- What was redeemed stays so, and no voucher is worth something else later.
CREATE FUNCTION check_voucher() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.id, NEW.code_hash, NEW.amount, NEW.created)
            IS DISTINCT FROM (OLD.id, OLD.code_hash, OLD.amount, OLD.created)
        OR OLD.payment IS NOT NULL AND (NEW.payment, NEW.redeemed) IS DISTINCT FROM (OLD.payment, OLD.redeemed)
        OR OLD.withdrawn IS NOT NULL AND NEW.withdrawn IS DISTINCT FROM OLD.withdrawn
        OR NEW.payment IS NOT NULL AND OLD.payment IS NULL AND NOT EXISTS (SELECT FROM payments p
            WHERE p.id = NEW.payment AND p.method = 'voucher' AND p.dollars = NEW.amount) THEN
        RAISE EXCEPTION 'voucher % stays what it is: withdraw it, and make another one', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'vouchers_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vouchers_checked BEFORE UPDATE OR DELETE ON vouchers FOR EACH ROW EXECUTE FUNCTION check_voucher();

-- A closed account redeems nothing, and its address goes from the vouchers that were for it.
CREATE FUNCTION forget_vouchers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vouchers SET for_email = '', withdrawn = now()
    WHERE for_email = OLD.email AND redeemed IS NULL AND withdrawn IS NULL;
    UPDATE vouchers SET for_email = '' WHERE for_email = OLD.email;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_forget_vouchers AFTER UPDATE ON accounts FOR EACH ROW
    WHEN (NEW.email <> OLD.email AND is_closed(NEW.email)) EXECUTE FUNCTION forget_vouchers();
