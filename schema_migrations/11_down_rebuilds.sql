DROP TABLE rebuilt_hosts;
DROP TABLE rebuilds;
