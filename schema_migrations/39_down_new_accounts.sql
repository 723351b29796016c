DROP TRIGGER vms_account_approved ON vms;
DROP FUNCTION refuse_while_waiting();
DROP FUNCTION vms_by_age(text, timestamptz);
DROP INDEX accounts_waiting;
ALTER TABLE accounts DROP COLUMN waits;
DROP TABLE account_limits;
