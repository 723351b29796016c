ALTER TABLE usage_spans DROP CONSTRAINT usage_spans_no_overlap, ADD CONSTRAINT usage_spans_no_overlap
    EXCLUDE USING gist (vm WITH =, span WITH &&);
