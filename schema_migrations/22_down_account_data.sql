DROP INDEX audit_lines_actor;
DROP INDEX mails_recipient;
