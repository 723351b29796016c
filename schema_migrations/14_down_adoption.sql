DROP INDEX vms_adopt_once;
ALTER TABLE vms DROP COLUMN adopted;
ALTER TABLE vms DROP COLUMN adopt;
DROP TABLE foreign_machines;
