-- A VM that has run for years has thousands of spans, where the average in a young installation is one. The planner
-- goes by the average, and then finds a VM's current span in any index of its spans, or of its account's, as well as in
-- usage_spans_vm_end, which alone need not read all of them. It is told to expect ten.
ALTER TABLE usage_spans ALTER COLUMN vm SET (n_distinct = -0.1), ALTER COLUMN email SET (n_distinct = -0.1);
ANALYZE usage_spans;
