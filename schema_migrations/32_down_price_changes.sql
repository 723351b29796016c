DROP INDEX vms_price_from;
