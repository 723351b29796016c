DROP INDEX alerts_cleared;
DROP INDEX mails_given_up;
DROP INDEX vms_in_between;
DROP TABLE quarantine;
DROP TABLE unknown_vms;

CREATE OR REPLACE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.generation > OLD.generation OR NEW.state <> OLD.state THEN
        PERFORM announce('capsul_hosts', ARRAY[NEW.id]);
    END IF;
    RETURN NULL;
END $$;

ALTER TABLE hosts DROP COLUMN certificate_ends;
ALTER TABLE hosts DROP COLUMN rebooted;
ALTER TABLE hosts DROP COLUMN drain_reason;
UPDATE hosts SET state = 'revoked' WHERE state = 'removed';
ALTER TABLE hosts DROP CONSTRAINT hosts_state_check, ADD CONSTRAINT hosts_state_check
    CHECK (state IN ('invited', 'joined', 'revoked'));

ALTER TABLE vms DROP CONSTRAINT vms_host_fkey,
    ADD CONSTRAINT vms_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE addresses DROP CONSTRAINT addresses_host_fkey,
    ADD CONSTRAINT addresses_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE host_images DROP CONSTRAINT host_images_host_fkey,
    ADD CONSTRAINT host_images_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE join_tokens DROP CONSTRAINT join_tokens_host_fkey,
    ADD CONSTRAINT join_tokens_host_fkey FOREIGN KEY (host) REFERENCES hosts;
