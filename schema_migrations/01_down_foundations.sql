DROP TABLE audit_lines;
DROP TABLE key_ring;
DROP TABLE seat;
DROP FUNCTION refuse_older_epoch();
DROP EXTENSION btree_gist;
