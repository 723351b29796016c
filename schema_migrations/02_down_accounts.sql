DROP TABLE mails;
DROP FUNCTION tell_mails();
DROP TABLE payments;
DROP TABLE ssh_keys;
DROP TABLE sessions;
DROP TABLE sign_in_tokens;
DROP TABLE accounts;
