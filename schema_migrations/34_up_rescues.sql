-- Rescue: a VM is started from a small system, with its own disk beside it.

-- Whether its Spoke can do that.
ALTER TABLE hosts ADD COLUMN rescues boolean NOT NULL DEFAULT FALSE;
-- While it is on: the number of the rescue system that it was started from; 0: it runs from its own disk.
ALTER TABLE vms ADD COLUMN observed_rescue bigint NOT NULL DEFAULT 0;

-- Each rescue, also those that are over.
CREATE TABLE rescues (
    vm           text NOT NULL REFERENCES vms ON DELETE CASCADE,
    -- The time of the order in seconds, or more: a database that was restored does not use a number again.
    number       bigint NOT NULL CHECK (number > 0),
    actor        text NOT NULL,
    began        timestamptz NOT NULL,
    -- The VM's state before it began, or before its end was asked for: undo returns to it.
    was          text NOT NULL CHECK (was IN ('running', 'stopped')),
    image        text NOT NULL,
    image_sha256 text NOT NULL,
    login_user   text NOT NULL,
    -- Lines: type and key of each that may log in.
    keys         text NOT NULL CHECK (keys <> ''),
    -- Lines: type, key and fingerprint of the rescue system's host keys, as read over the console.
    host_keys    text NOT NULL DEFAULT '',
    -- The VM is wanted from its own disk again.
    ending       boolean NOT NULL DEFAULT FALSE,
    ended        timestamptz,
    PRIMARY KEY (vm, number)
);
CREATE UNIQUE INDEX rescues_one_at_a_time ON rescues (vm) WHERE ended IS NULL;

-- Of a VM that is gone nothing is kept, however it went.
CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    DELETE FROM sites WHERE vm = NEW.id;
    DELETE FROM reinstalls WHERE vm = NEW.id;
    UPDATE rescues SET ended = NEW.deleted WHERE vm = NEW.id AND ended IS NULL;
    RETURN NULL;
END $$;
