DROP TRIGGER accounts_forget_vouchers ON accounts;
DROP FUNCTION forget_vouchers();
DROP TABLE voucher_tries;
DROP TABLE vouchers;
DROP FUNCTION check_voucher();
