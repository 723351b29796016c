-- capsul: no transaction
DROP TRIGGER accounts_forget_friend_links ON accounts;
DROP FUNCTION forget_friend_links();
DROP INDEX CONCURRENTLY provider_payments_payer_once;
DROP INDEX CONCURRENTLY provider_payments_friend_link;
-- lint: accept drops-data because the payments themselves stay, and their links go with it
ALTER TABLE provider_payments DROP COLUMN payer_hash, DROP COLUMN friend_link;
DROP TABLE friend_links;
