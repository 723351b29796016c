-- A change of the ladder of dunning takes nobody to a stop or a deletion sooner than their last email says, and the end
-- of a VM with extras locks in order.

-- After a change, whoever is at the step right before a stop or a deletion that is new there, or comes sooner, goes
-- back before that step, and so gets its email again, with the new time. That is not possible at a step that is itself
-- no mere email: the change is refused while somebody is there. Nobody goes along with a step that passes others.
CREATE FUNCTION tell_dunning_again() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    crosses boolean := TG_OP = 'UPDATE' AND EXISTS (SELECT FROM dunning_steps
        WHERE step > least(OLD.step, NEW.step) AND step < greatest(OLD.step, NEW.step));
    place smallint;
    previous smallint;
BEGIN
    IF crosses THEN
        previous := coalesce((SELECT max(step) FROM dunning_steps WHERE step < least(OLD.step, NEW.step)), 0);
        UPDATE dunning SET step = previous, told = CASE WHEN previous > 0 THEN told
            ELSE coalesce(told, (SELECT seconds FROM dunning_clock)) END
        WHERE step = NEW.step;
    END IF;
    FOR place IN
        SELECT DISTINCT (SELECT max(b.step) FROM dunning_steps b WHERE b.step < n.step) FROM dunning_steps n
        WHERE n.action <> 'mail' AND (
            n.step = NEW.step AND (TG_OP = 'INSERT' OR crosses OR NEW.after_hours < OLD.after_hours)
            OR (TG_OP = 'DELETE' OR crosses)
                AND n.step = (SELECT min(s.step) FROM dunning_steps s WHERE s.step > OLD.step))
    LOOP
        CONTINUE WHEN place IS NULL OR NOT EXISTS (SELECT FROM dunning WHERE step = place);
        IF (SELECT action FROM dunning_steps WHERE step = place) <> 'mail' THEN
            RAISE EXCEPTION 'accounts are at step % of dunning, and their email says that they have more time', place
                USING ERRCODE = 'check_violation', CONSTRAINT = 'dunning_steps_told',
                HINT = 'Add a step with an email between them first.';
        END IF;
        previous := coalesce((SELECT max(step) FROM dunning_steps WHERE step < place), 0);
        UPDATE dunning SET step = previous, told = CASE WHEN previous > 0 THEN told
            ELSE coalesce(told, (SELECT seconds FROM dunning_clock)) END
        WHERE step = place;
    END LOOP;
    RETURN NULL;
END $$;
-- Its name comes after those of the triggers that keep accounts at their steps.
CREATE TRIGGER dunning_steps_told_again AFTER INSERT OR DELETE OR UPDATE ON dunning_steps
    FOR EACH ROW EXECUTE FUNCTION tell_dunning_again();

-- The host first, and then the totals of the account, which the sum of its extras changes.
CREATE OR REPLACE FUNCTION end_extras() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM hosts WHERE id = NEW.host FOR NO KEY UPDATE;
    UPDATE vm_extras SET removed = NEW.deleted WHERE vm = NEW.id AND removed IS NULL;
    RETURN NULL;
END $$;
