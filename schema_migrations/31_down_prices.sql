DROP TRIGGER vms_own_price ON vms;
DROP FUNCTION keep_own_price();
ALTER TABLE vms DROP COLUMN price_from;
DROP TRIGGER sizes_first_price_stays ON sizes;
DROP FUNCTION refuse_first_price();
DROP TRIGGER sizes_priced ON sizes;
DROP FUNCTION add_first_price();
-- The older program knows one price of a size: the one that is in force.
UPDATE sizes s SET dollars_per_month = (SELECT p.dollars_per_month FROM prices p
    WHERE p.size = s.id AND p.withdrawn IS NULL AND p.active_from <= now() ORDER BY p.active_from DESC LIMIT 1);
DROP TABLE prices;
DROP FUNCTION check_price();
