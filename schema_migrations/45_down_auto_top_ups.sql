-- An older program would take a charge without an answer for a checkout, and would leave cards at the provider.
DO $$ BEGIN
    IF EXISTS (SELECT FROM saved_cards WHERE status IN ('new', 'open', 'saved', 'removing'))
        OR EXISTS (SELECT FROM provider_payments WHERE automatic AND next_poll IS NOT NULL) THEN
        RAISE EXCEPTION 'there are saved cards, or charges of them that are not final'
            USING ERRCODE = 'check_violation', HINT = 'Remove the cards on the pages of their accounts, and wait.';
    END IF;
END $$;
DROP TRIGGER accounts_forget_cards ON accounts;
DROP FUNCTION forget_cards();
DROP TRIGGER provider_payments_stop_auto ON provider_payments;
DROP TRIGGER provider_refunds_stop_auto ON provider_refunds;
DROP FUNCTION stop_auto_top_up();
DROP TRIGGER provider_payments_automatic_stay ON provider_payments;
DROP FUNCTION refuse_charge_change();
DROP TRIGGER provider_payments_automatic_checked ON provider_payments;
DROP FUNCTION check_automatic_charge();
DROP FUNCTION charged_in_month(text, timestamptz);
DROP INDEX provider_payments_card;
DROP INDEX provider_payments_automatic;
DROP INDEX provider_payments_one_automatic;
ALTER TABLE provider_payments DROP CONSTRAINT provider_payments_card_is_automatic;
ALTER TABLE provider_payments DROP CONSTRAINT provider_payments_card_fkey;
ALTER TABLE provider_payments DROP COLUMN automatic, DROP COLUMN card, DROP COLUMN decline;
DROP TABLE auto_top_ups;
DROP TABLE saved_cards;
