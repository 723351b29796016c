-- Hosts, what can be bought and booted, VMs, the operations that change them, and the time that is charged.

CREATE TABLE hosts (
    id              text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created         timestamptz NOT NULL DEFAULT now(),
    -- invited: has a join token; joined: has a certificate; revoked: may not connect again.
    state           text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'joined', 'revoked')),
    -- Whether new VMs are placed here.
    accepts         boolean NOT NULL DEFAULT TRUE,
    -- SHA-256 of the client certificate in force, and of the one it replaced, which is good until the new one is first used.
    certificate     bytea,
    old_certificate bytea,
    -- Grows with every change of what should run here.
    generation      bigint NOT NULL DEFAULT 0,
    -- The Spoke's last word of any kind; null while it is not connected and nothing is known.
    last_seen       timestamptz,
    online          boolean NOT NULL DEFAULT FALSE,
    problem         text NOT NULL DEFAULT '',
    version         text NOT NULL DEFAULT '',
    hypervisor      text NOT NULL DEFAULT '',
    cpus            integer NOT NULL DEFAULT 0 CHECK (cpus >= 0),
    memory_mb       integer NOT NULL DEFAULT 0 CHECK (memory_mb >= 0),
    disk_free_mb    bigint NOT NULL DEFAULT 0 CHECK (disk_free_mb >= 0)
);

CREATE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    PERFORM pg_notify('capsul_hosts', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER hosts_told AFTER UPDATE OF generation, state ON hosts FOR EACH ROW EXECUTE FUNCTION tell_host();

CREATE TABLE join_tokens (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    host        text NOT NULL REFERENCES hosts,
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    used        timestamptz
);

CREATE TABLE sizes (
    id                  text PRIMARY KEY CHECK (id ~ '^[a-z0-9-]{1,32}$'),
    dollars_per_month   numeric(8,2) NOT NULL CHECK (dollars_per_month >= 0),
    vcpus               integer NOT NULL CHECK (vcpus > 0),
    memory_mb           integer NOT NULL CHECK (memory_mb >= 64),
    disk_gb             integer NOT NULL CHECK (disk_gb > 0),
    retired             boolean NOT NULL DEFAULT FALSE
);
INSERT INTO sizes (id, dollars_per_month, vcpus, memory_mb, disk_gb) VALUES
    ('f1-xs',   5.00, 1,  512, 25),
    ('f1-s',    7.50, 1, 1024, 25),
    ('f1-m',   12.50, 1, 2048, 25),
    ('f1-l',   20.00, 2, 3072, 25),
    ('f1-xl',  27.50, 3, 4096, 25),
    ('f1-xxl', 50.00, 4, 8192, 25);

CREATE TABLE images (
    id              text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9.-]{0,62}$'),
    title           text NOT NULL,
    login_user      text NOT NULL,
    min_disk_gb     integer NOT NULL CHECK (min_disk_gb >= 0),
    min_memory_mb   integer NOT NULL CHECK (min_memory_mb >= 0),
    -- Hidden from the form; VMs that have it go on.
    deprecated      boolean NOT NULL DEFAULT FALSE,
    created         timestamptz NOT NULL DEFAULT now()
);

-- Which host has which version of which image.
CREATE TABLE host_images (
    host        text NOT NULL REFERENCES hosts,
    image       text NOT NULL REFERENCES images,
    sha256      text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (host, image)
);

CREATE TABLE vms (
    id                  text PRIMARY KEY CHECK (id ~ '^capsul-[a-z0-9]{10}$'),
    email               text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    name                text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    size                text NOT NULL REFERENCES sizes,
    image               text NOT NULL REFERENCES images,
    image_sha256        text NOT NULL,
    login_user          text NOT NULL,
    host                text NOT NULL REFERENCES hosts,
    created             timestamptz NOT NULL,
    deleted             timestamptz,
    -- Copied from the size, so that a new price or shape never rewrites history.
    dollars_per_month   numeric(8,2) NOT NULL CHECK (dollars_per_month >= 0),
    vcpus               integer NOT NULL,
    memory_mb           integer NOT NULL,
    disk_gb             integer NOT NULL,
    -- What its owner sees. The operation in progress, if any, says more.
    state               text NOT NULL CHECK (state IN ('creating', 'running', 'stopped', 'starting', 'stopping', 'restarting',
                                                       'deleting', 'deleted', 'failed')),
    -- What should be ...
    wanted              text NOT NULL CHECK (wanted IN ('on', 'off', 'gone')),
    wanted_generation   bigint NOT NULL,
    restarts            integer NOT NULL DEFAULT 0,
    stop_grace_seconds  integer NOT NULL DEFAULT 0,
    -- ... and what the Spoke last reported.
    observed            text NOT NULL DEFAULT 'unknown' CHECK (observed IN ('unknown', 'off', 'on', 'gone')),
    observed_generation bigint NOT NULL DEFAULT 0,
    observed_restarts   integer NOT NULL DEFAULT 0,
    observed_at         timestamptz,
    phase               integer NOT NULL DEFAULT 0,
    ssh_host            text NOT NULL DEFAULT '',
    ssh_port            integer NOT NULL DEFAULT 0,
    console_tail        text NOT NULL DEFAULT '',
    problem             text NOT NULL DEFAULT '',
    problem_final       boolean NOT NULL DEFAULT FALSE,
    CONSTRAINT vms_deleted_is_gone CHECK ((deleted IS NULL) OR (state IN ('deleted', 'failed') AND wanted = 'gone'))
);
CREATE UNIQUE INDEX vms_name_once ON vms (email, name) WHERE deleted IS NULL;
CREATE INDEX vms_host_alive ON vms (host) WHERE deleted IS NULL;
CREATE INDEX vms_email ON vms (email);

-- Pages that wait for a VM listen to this.
CREATE FUNCTION tell_vm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_vms', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER vms_told AFTER INSERT OR UPDATE ON vms FOR EACH ROW EXECUTE FUNCTION tell_vm();

CREATE TABLE addresses (
    host        text NOT NULL REFERENCES hosts,
    address     inet NOT NULL,
    mac         macaddr NOT NULL,
    vm          text REFERENCES vms,
    freed       timestamptz,
    PRIMARY KEY (host, address),
    CONSTRAINT addresses_mac_once UNIQUE (host, mac),
    CONSTRAINT addresses_one_for_a_vm UNIQUE (vm)
);
CREATE INDEX addresses_free ON addresses (host, freed NULLS FIRST, address) WHERE vm IS NULL;

-- The keys that went into the VM when it was made.
CREATE TABLE vm_ssh_keys (
    vm          text NOT NULL REFERENCES vms,
    name        text NOT NULL,
    type        text NOT NULL,
    key         text NOT NULL,
    PRIMARY KEY (vm, name)
);

CREATE TABLE vm_ssh_host_keys (
    vm          text NOT NULL REFERENCES vms,
    type        text NOT NULL,
    key         text NOT NULL,
    fingerprint text NOT NULL,
    PRIMARY KEY (vm, type)
);

-- Time that is charged. Opened and closed in the transaction of the change that causes it; the price is copied in.
CREATE TABLE usage_spans (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vm                  text NOT NULL REFERENCES vms,
    email               text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    span                tstzrange NOT NULL CHECK (NOT isempty(span) AND lower_inc(span) AND NOT lower_inf(span)),
    dollars_per_month   numeric(8,2) NOT NULL CHECK (dollars_per_month >= 0),
    CONSTRAINT usage_spans_no_overlap EXCLUDE USING gist (vm WITH =, span WITH &&)
);
CREATE INDEX usage_spans_email ON usage_spans (email);

-- Durable work. A step is one transaction: it locks the row, does its part in Postgres, and says what comes next.
CREATE TABLE operations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    vm          text NOT NULL REFERENCES vms,
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    step        text NOT NULL,
    -- running and undoing are work; done, failed and cancelled are ends.
    status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'undoing', 'done', 'failed', 'cancelled')),
    run_at      timestamptz NOT NULL,
    attempt     integer NOT NULL DEFAULT 0,
    created     timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    finished    timestamptz,
    -- Somebody asked for an exit.
    asked       text CHECK (asked IN ('cancel', 'force')),
    problem     text NOT NULL DEFAULT '',
    detail      text NOT NULL DEFAULT '',
    CHECK ((finished IS NOT NULL) = (status IN ('done', 'failed', 'cancelled')))
);
CREATE UNIQUE INDEX operations_one_for_a_vm ON operations (vm) WHERE finished IS NULL;
CREATE INDEX operations_due ON operations (run_at) WHERE finished IS NULL;
CREATE INDEX operations_vm ON operations (vm, id);

CREATE FUNCTION tell_operations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_operations', '');
    RETURN NULL;
END $$;
CREATE TRIGGER operations_told AFTER INSERT OR UPDATE OF run_at ON operations FOR EACH STATEMENT EXECUTE FUNCTION tell_operations();

-- What an operation went through, for the person who waits and for whoever asks later.
CREATE TABLE operation_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation   bigint NOT NULL REFERENCES operations,
    at          timestamptz NOT NULL,
    step        text NOT NULL,
    message     text NOT NULL
);
CREATE INDEX operation_events_operation ON operation_events (operation, id);
