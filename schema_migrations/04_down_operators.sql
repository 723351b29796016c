DROP TABLE alerts;
DROP TABLE backups;
DROP TABLE operator_statements;
DROP FUNCTION refuse_change();
