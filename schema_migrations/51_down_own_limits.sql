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
    UPDATE sponsorships SET reason = '', ended = coalesce(ended, now()), short_since = NULL WHERE email = person;
    UPDATE sponsorships SET actor = pseudonym WHERE actor = person;
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
-- lint: accept drops-data because an older program does not know what people have set
DROP TABLE spending_limits;
DROP TRIGGER dunning_steps_action_stays ON dunning_steps;
DROP FUNCTION refuse_dunning_action();
DROP TRIGGER dunning_steps_followed_on ON dunning_steps;
DROP TRIGGER dunning_steps_followed ON dunning_steps;
DROP FUNCTION follow_dunning_steps();
DROP TRIGGER dunning_steps_one_at_a_time ON dunning_steps;
DROP FUNCTION lock_dunning_steps();
-- lint: accept drops-data because providers are asked again
DROP TABLE provider_totals;
