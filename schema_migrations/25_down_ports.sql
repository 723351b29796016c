DROP TRIGGER vms_close_ports ON vms;
DROP FUNCTION close_ports();
DROP TABLE ports;
ALTER TABLE hosts DROP COLUMN forward_first, DROP COLUMN forward_last;
