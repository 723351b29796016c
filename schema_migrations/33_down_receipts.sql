DROP TABLE receipts;
DROP TABLE receipt_numbers;
DROP TABLE billing_addresses;
DROP TABLE sellers;
DROP FUNCTION number_receipt();
DROP FUNCTION refuse_receipt_change();
