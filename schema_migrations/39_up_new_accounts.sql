-- How much accounts may run that are new, and whether they may at all.

-- An account has the most of the lines that are for its age and for what was paid into it. Without lines there is no
-- limit but CAPSUL_MAX_VMS; the column max_vms of an account comes before both.
CREATE TABLE account_limits (
    after_days  integer NOT NULL CONSTRAINT account_limits_after_days_check CHECK (after_days BETWEEN 0 AND 3650),
    paid        numeric NOT NULL CONSTRAINT account_limits_paid_check
        CHECK (paid >= 0 AND paid < 10000000000 AND paid = round(paid, 2)),
    max_vms     integer NOT NULL CONSTRAINT account_limits_max_vms_check CHECK (max_vms BETWEEN 0 AND 10000),
    PRIMARY KEY (after_days, paid)
);

-- Since when an account waits for an operator to approve it; NULL: it does not.
ALTER TABLE accounts ADD COLUMN waits timestamptz;
-- lint: accept index-locks because hardly any row is in it, and accounts are few
CREATE INDEX accounts_waiting ON accounts (waits) WHERE waits IS NOT NULL;

-- The most VMs that an account may have by the lines; NULL: they say nothing.
CREATE FUNCTION vms_by_age(account text, at timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM account_limits) THEN coalesce((
        SELECT max(l.max_vms) FROM account_limits l, accounts a LEFT JOIN account_totals t ON t.email = a.email
        WHERE a.email = account AND l.after_days * interval '1 day' <= greatest(interval '0', at - a.created)
            AND l.paid <= coalesce(t.paid, 0)), 0) END
$$;

CREATE FUNCTION refuse_while_waiting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM accounts WHERE email = NEW.email AND waits IS NOT NULL) THEN
        RAISE EXCEPTION 'the account % has not been approved', NEW.email
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_is_approved',
                HINT = 'capsul account approve EMAIL';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vms_account_approved BEFORE INSERT ON vms FOR EACH ROW EXECUTE FUNCTION refuse_while_waiting();
