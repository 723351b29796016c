-- capsul: no transaction
-- What is kept of a person is found without reading everybody's.
CREATE INDEX CONCURRENTLY audit_lines_actor ON audit_lines (actor);
CREATE INDEX CONCURRENTLY mails_recipient ON mails (recipient);
