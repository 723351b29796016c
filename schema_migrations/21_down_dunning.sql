DROP INDEX account_totals_runs_out;
DROP TABLE dunning_stops;
DROP TABLE dunning_holds;
DROP TABLE dunning;
DROP TABLE dunning_clock;
DROP TABLE dunning_steps;
DROP FUNCTION check_dunning_steps();
