-- A mailed link is not readable in the database, and leads back to the page that asked for the sign-in.

-- What a mail tells its reader alone: sealed with a key that is not in the database, put in place of {secret} when it is sent.
ALTER TABLE mails ADD COLUMN secret text NOT NULL DEFAULT '';
-- After this it is of no use: it is not sent any more, and the secret is blanked.
ALTER TABLE mails ADD COLUMN expires timestamptz;

-- Where to go after the sign-in: a path of the Hub's own pages, or nothing.
ALTER TABLE sign_in_tokens ADD COLUMN return_path text NOT NULL DEFAULT '';

-- For the limit over all addresses, and for the sweep.
-- lint: accept index-locks because the table holds a week of requests.
CREATE INDEX sign_in_tokens_created ON sign_in_tokens (created);
