-- Prices of sizes are lines with a date, and are only added to: a VM that follows its size has the price of the newest
-- line that is in force. What is in force is never changed; what is not yet can be withdrawn.
CREATE TABLE prices (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    size                text NOT NULL REFERENCES sizes,
    active_from         timestamptz NOT NULL,
    dollars_per_month   numeric(8,2) NOT NULL CONSTRAINT prices_dollars_per_month_check
        CHECK (dollars_per_month >= 0 AND dollars_per_month < 1000000),
    announced           timestamptz NOT NULL,
    withdrawn           timestamptz,
    -- When all VMs that follow the size had it.
    applied             timestamptz,
    CONSTRAINT prices_not_dated_back CHECK (announced <= active_from),
    CONSTRAINT prices_withdrawn_before CHECK (withdrawn < active_from),
    CONSTRAINT prices_applied_stay CHECK (applied IS NULL OR withdrawn IS NULL)
);
CREATE UNIQUE INDEX prices_once ON prices (size, active_from) WHERE withdrawn IS NULL;

CREATE FUNCTION check_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.size, NEW.active_from, NEW.dollars_per_month, NEW.announced)
            = (OLD.id, OLD.size, OLD.active_from, OLD.dollars_per_month, OLD.announced)
        AND (OLD.withdrawn IS NULL OR NEW.withdrawn = OLD.withdrawn)
        AND (OLD.applied IS NULL OR NEW.applied = OLD.applied) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'prices are only added to: they are neither changed nor deleted'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'prices_stay',
            HINT = 'Add a line with another date, or set the column withdrawn of one that is not in force yet.';
END $$;
CREATE TRIGGER prices_stay BEFORE UPDATE OR DELETE ON prices FOR EACH ROW EXECUTE FUNCTION check_price();
CREATE TRIGGER prices_only_grow BEFORE TRUNCATE ON prices FOR EACH STATEMENT EXECUTE FUNCTION check_price();

-- The first price of a size is in force since the beginning of time, and comes with the size.
INSERT INTO prices (size, active_from, dollars_per_month, announced, applied)
SELECT id, '1970-01-01 00:00:00+00', dollars_per_month, '1970-01-01 00:00:00+00', '1970-01-01 00:00:00+00' FROM sizes;

CREATE FUNCTION add_first_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO prices (size, active_from, dollars_per_month, announced, applied)
    VALUES (NEW.id, '1970-01-01 00:00:00+00', NEW.dollars_per_month, '1970-01-01 00:00:00+00', '1970-01-01 00:00:00+00');
    RETURN NULL;
END $$;
CREATE TRIGGER sizes_priced AFTER INSERT ON sizes FOR EACH ROW EXECUTE FUNCTION add_first_price();

CREATE FUNCTION refuse_first_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the column dollars_per_month of sizes is the first price of a size, and stays that'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'sizes_first_price_stays',
            HINT = 'A new price is a line of the table prices: capsul price set';
END $$;
CREATE TRIGGER sizes_first_price_stays BEFORE UPDATE OF dollars_per_month ON sizes FOR EACH ROW
    WHEN (NEW.dollars_per_month <> OLD.dollars_per_month) EXECUTE FUNCTION refuse_first_price();

-- price_from: since when the line of its size is in force from which a VM has its price. NULL: it has a price of its own,
-- which stays when that of the size changes; so do prices that are not their size's at the time of this upgrade.
ALTER TABLE vms ADD COLUMN price_from timestamptz DEFAULT '1970-01-01 00:00:00+00';
UPDATE vms v SET price_from = NULL FROM sizes s
WHERE s.id = v.size AND v.dollars_per_month <> s.dollars_per_month AND v.deleted IS NULL;
ALTER TABLE vms ALTER COLUMN price_from DROP DEFAULT;

-- Whoever gives a VM another price, and does not say from which line it is, has agreed on one.
CREATE FUNCTION keep_own_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.price_from := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER vms_own_price BEFORE UPDATE OF dollars_per_month ON vms FOR EACH ROW
    WHEN (NEW.dollars_per_month <> OLD.dollars_per_month AND NEW.price_from = OLD.price_from)
    EXECUTE FUNCTION keep_own_price();
