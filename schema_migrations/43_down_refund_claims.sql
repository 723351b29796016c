-- An older program would say that what can be claimed was refused, and count it again.
DO $$ BEGIN
    IF EXISTS (SELECT FROM provider_refunds WHERE status = 'offered') THEN
        RAISE EXCEPTION 'there are refunds that can be claimed' USING ERRCODE = 'check_violation',
            HINT = 'Wait until they are over, or withdraw them: capsul payment refunds N';
    END IF;
END $$;
DROP TRIGGER account_closings_forget_contact ON account_closings;
DROP FUNCTION forget_contact();
DROP TRIGGER provider_refunds_stay ON provider_refunds;
DROP FUNCTION check_refund_change();
DROP TRIGGER provider_refunds_within_payment ON provider_refunds;
DROP FUNCTION check_refund();
DROP INDEX provider_refunds_noted;
DROP INDEX provider_refunds_reference_once;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_offered_has_page;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_moves_while_offered;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_sent_check;
ALTER TABLE provider_refunds DROP CONSTRAINT provider_refunds_status_check, ADD CONSTRAINT provider_refunds_status_check
    CHECK (status IN ('open', 'done', 'refused'));
ALTER TABLE provider_refunds DROP COLUMN sent, DROP COLUMN claimed, DROP COLUMN moving, DROP COLUMN url,
    DROP COLUMN withdrawn;
