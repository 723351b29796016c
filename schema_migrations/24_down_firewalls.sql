ALTER TABLE hosts DROP COLUMN rules_removed;
DROP TABLE firewall_rules;
DROP TABLE firewalls;
