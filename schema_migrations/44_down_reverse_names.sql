DROP TRIGGER addresses_forget_reverse_name ON addresses;
DROP TRIGGER addresses_forget_reverse_name_of_none ON addresses;
DROP FUNCTION forget_reverse_name();
DROP TABLE reverse_names;
DROP FUNCTION check_reverse_name();
