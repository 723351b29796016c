ALTER TABLE hosts DROP COLUMN acknowledged;
ALTER TABLE hosts DROP COLUMN clock_skew_seconds;
ALTER TABLE hosts DROP COLUMN token_epoch;
ALTER TABLE hosts DROP COLUMN given_token;
ALTER TABLE hosts DROP COLUMN presented_token;
ALTER TABLE hosts DROP COLUMN boot_id;

DROP TRIGGER operation_events_told ON operation_events;
DROP FUNCTION tell_events();
DROP TRIGGER operations_told ON operations;
DROP FUNCTION tell_operations();
DROP TRIGGER operations_told_new ON operations;
DROP FUNCTION tell_new_operations();
CREATE FUNCTION tell_operations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_operations', '');
    RETURN NULL;
END $$;
CREATE TRIGGER operations_told AFTER INSERT OR UPDATE OF run_at ON operations FOR EACH STATEMENT EXECUTE FUNCTION tell_operations();

DROP TRIGGER vms_told ON vms;
DROP FUNCTION tell_vms();
DROP TRIGGER vms_told_new ON vms;
DROP FUNCTION tell_new_vms();
CREATE FUNCTION tell_vm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_vms', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER vms_told AFTER INSERT OR UPDATE ON vms FOR EACH ROW EXECUTE FUNCTION tell_vm();

CREATE OR REPLACE FUNCTION tell_mails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_mails', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    PERFORM pg_notify('capsul_hosts', NEW.id);
    RETURN NULL;
END $$;

DROP FUNCTION announce(text, text[]);
DROP TABLE hubs;
ALTER TABLE seat DROP COLUMN link_address;
DROP FUNCTION hold_seat(bigint);
