-- lint: accept drops-data because it is only what VMs have used, which nobody is charged for
DROP FUNCTION counted(bigint, bigint);
DROP TABLE vm_traffic, vm_usage;
