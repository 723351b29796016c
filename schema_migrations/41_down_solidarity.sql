-- Refused if money was moved by movements or sponsorships: nothing in the ledger is ever taken away, and nobody could
-- tell any more what has been paid.
LOCK TABLE payments, ledger_entries IN SHARE ROW EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM fund_movements) THEN
        RAISE EXCEPTION 'money was given to the solidarity fund or by it: this version stays';
    END IF;
END $$;
DROP TRIGGER ledger_entries_of_fund_counted ON ledger_entries;
DROP TRIGGER payments_account_open ON payments;
CREATE TRIGGER payments_account_open BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.provider_payment IS NULL AND NEW.method IN ('cash', 'bank', 'opening', 'assigned', 'play', 'voucher')
        AND NEW.dollars > 0)
    EXECUTE FUNCTION refuse_while_closing();
DROP TABLE fund_movements;
DROP TABLE sponsorships;
DROP TABLE solidarity_fund;
DROP FUNCTION check_fund_movement();
DROP FUNCTION check_sponsorship();
DROP FUNCTION count_fund_entry();
DROP FUNCTION refuse_fund_change();
CREATE OR REPLACE FUNCTION forget_person(person text, pseudonym text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    subjects text[] := ARRAY(SELECT id FROM vms WHERE email = person
        UNION ALL SELECT 'payment ' || id FROM payments WHERE email = person
        UNION ALL SELECT 'provider payment ' || id FROM provider_payments WHERE email = person
        UNION ALL SELECT person);
BEGIN
    DELETE FROM sessions WHERE email = person;
    DELETE FROM sign_in_tokens WHERE email = person;
    DELETE FROM ssh_keys WHERE email = person;
    DELETE FROM vm_ssh_keys k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM key_changes k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM rescues r USING vms v WHERE v.id = r.vm AND v.email = person;
    DELETE FROM billing_addresses WHERE email = person;
    DELETE FROM account_references WHERE email = person;
    DELETE FROM dunning WHERE email = person;
    DELETE FROM dunning_holds WHERE email = person;
    DELETE FROM mails WHERE recipient = person;
    UPDATE provider_events SET body = '' WHERE body <> ''
        AND payment IN (SELECT id FROM provider_payments WHERE email = person);
    UPDATE vms SET name = id, console_tail = '' WHERE email = person;
    UPDATE audit_lines SET actor = CASE actor WHEN person THEN pseudonym ELSE actor END,
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END,
        detail = without_person(detail, person, pseudonym)
    WHERE actor = person OR subject = ANY(subjects);
    UPDATE alerts SET message = without_person(message, person, pseudonym),
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END
    WHERE strpos(message, person) > 0 OR subject = person;
    UPDATE accounts SET email = pseudonym WHERE email = person;
END $$;
