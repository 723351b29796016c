DROP INDEX sign_in_tokens_created;
ALTER TABLE sign_in_tokens DROP COLUMN return_path;
ALTER TABLE mails DROP COLUMN expires;
ALTER TABLE mails DROP COLUMN secret;
