DROP TRIGGER dunning_steps_told_again ON dunning_steps;
DROP FUNCTION tell_dunning_again();
CREATE OR REPLACE FUNCTION end_extras() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vm_extras SET removed = NEW.deleted WHERE vm = NEW.id AND removed IS NULL;
    RETURN NULL;
END $$;
