ALTER TABLE usage_spans ALTER COLUMN vm RESET (n_distinct), ALTER COLUMN email RESET (n_distinct);
ANALYZE usage_spans;
