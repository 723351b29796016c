-- SSH keys that a VM gets when it is started the next time, from its seed: where no guest agent answers.

-- Whether its Spoke writes new seeds.
ALTER TABLE hosts ADD COLUMN renews_seeds boolean NOT NULL DEFAULT FALSE;

CREATE TABLE key_changes (
    vm        text NOT NULL REFERENCES vms ON DELETE CASCADE,
    -- The time of the order in seconds, or more. The guest remembers the last one that it has done. One that is not
    -- higher than the VM's disk was of the disk before.
    number    bigint NOT NULL CHECK (number > 0),
    asked     timestamptz NOT NULL,
    -- Lines: type and key of each; their names in the same order.
    keys      text NOT NULL CHECK (keys <> ''),
    key_names text NOT NULL,
    -- When the guest has said so on its console.
    done      timestamptz,
    PRIMARY KEY (vm, number)
);
CREATE UNIQUE INDEX key_changes_one_waits ON key_changes (vm) WHERE done IS NULL;
