-- capsul: no transaction
-- Links by which others pay into an account without signing in. The link's secret is kept as a hash.
CREATE TABLE friend_links (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    code_hash   bytea NOT NULL CONSTRAINT friend_links_code_hash_check CHECK (length(code_hash) = 32),
    -- What is shown to others: whatever the member wants.
    name        text NOT NULL CONSTRAINT friend_links_name_check CHECK (length(name) <= 40),
    created     timestamptz NOT NULL,
    revoked     timestamptz,
    CONSTRAINT friend_links_revoked_after_created CHECK (revoked >= created)
);
CREATE UNIQUE INDEX friend_links_code_once ON friend_links (code_hash);
CREATE INDEX friend_links_email ON friend_links (email, id);

-- A payment that somebody else makes: by which link, and the hash of what shows it to whoever pays.
ALTER TABLE provider_payments ADD COLUMN friend_link bigint;
ALTER TABLE provider_payments ADD COLUMN payer_hash bytea;
ALTER TABLE provider_payments ADD CONSTRAINT provider_payments_friend_link_fkey FOREIGN KEY (friend_link)
    REFERENCES friend_links NOT VALID;
ALTER TABLE provider_payments VALIDATE CONSTRAINT provider_payments_friend_link_fkey;
CREATE INDEX CONCURRENTLY provider_payments_friend_link ON provider_payments (friend_link, created)
    WHERE friend_link IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY provider_payments_payer_once ON provider_payments (payer_hash)
    WHERE payer_hash IS NOT NULL;

-- The links of a closed account lead nowhere, and say nobody's name.
CREATE FUNCTION forget_friend_links() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE friend_links SET name = '', revoked = coalesce(revoked, now()) WHERE email IN (OLD.email, NEW.email);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_forget_friend_links AFTER UPDATE ON accounts FOR EACH ROW
    WHEN (NEW.email <> OLD.email AND is_closed(NEW.email)) EXECUTE FUNCTION forget_friend_links();
