-- What all up scripts together give. Written by a test; see README.md.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;
COMMENT ON EXTENSION btree_gist IS 'support for indexing common datatypes in GiST';
CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'table % is only added to', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE FUNCTION public.refuse_older_epoch() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.epoch <= OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of the seat only grows (% to %)', OLD.epoch, NEW.epoch USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.tell_host() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    PERFORM pg_notify('capsul_hosts', NEW.id);
    RETURN NULL;
END $$;
CREATE FUNCTION public.tell_mails() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('capsul_mails', '');
    RETURN NULL;
END $$;
CREATE FUNCTION public.tell_operations() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('capsul_operations', '');
    RETURN NULL;
END $$;
CREATE FUNCTION public.tell_vm() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('capsul_vms', NEW.id);
    RETURN NULL;
END $$;
CREATE TABLE public.accounts (
    email text NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    max_vms integer,
    CONSTRAINT accounts_email_check CHECK (((email = lower(email)) AND ((length(email) >= 3) AND (length(email) <= 254)))),
    CONSTRAINT accounts_max_vms_check CHECK ((max_vms >= 0))
);
CREATE TABLE public.addresses (
    host text NOT NULL,
    address inet NOT NULL,
    mac macaddr NOT NULL,
    vm text,
    freed timestamp with time zone
);
CREATE TABLE public.alerts (
    id bigint NOT NULL,
    kind text NOT NULL,
    subject text DEFAULT ''::text NOT NULL,
    message text NOT NULL,
    raised timestamp with time zone NOT NULL,
    cleared timestamp with time zone,
    CONSTRAINT alerts_check CHECK ((cleared >= raised)),
    CONSTRAINT alerts_kind_check CHECK ((kind ~ '^[a-z_]+$'::text))
);
ALTER TABLE public.alerts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.alerts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.audit_lines (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text DEFAULT ''::text NOT NULL
);
ALTER TABLE public.audit_lines ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_lines_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.backups (
    id bigint NOT NULL,
    reason text NOT NULL,
    started timestamp with time zone NOT NULL,
    finished timestamp with time zone,
    file text NOT NULL,
    format text NOT NULL,
    encrypted_to text DEFAULT ''::text NOT NULL,
    schema_version integer NOT NULL,
    bytes bigint,
    proved timestamp with time zone,
    proof text DEFAULT ''::text NOT NULL,
    problem text DEFAULT ''::text NOT NULL,
    removed timestamp with time zone,
    CONSTRAINT backups_bytes_check CHECK ((bytes > 0)),
    CONSTRAINT backups_format_check CHECK ((format = ANY (ARRAY['plain'::text, 'custom'::text]))),
    CONSTRAINT backups_proved_is_finished CHECK (((proved IS NULL) OR ((finished IS NOT NULL) AND (problem = ''::text)))),
    CONSTRAINT backups_reason_check CHECK ((reason = ANY (ARRAY['asked'::text, 'scheduled'::text, 'upgrade'::text, 'downgrade'::text, 'restore'::text])))
);
ALTER TABLE public.backups ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.backups_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.host_images (
    host text NOT NULL,
    image text NOT NULL,
    sha256 text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    login_user text DEFAULT 'root'::text NOT NULL,
    min_disk_gb integer DEFAULT 0 NOT NULL,
    min_memory_mb integer DEFAULT 0 NOT NULL,
    CONSTRAINT host_images_image_check CHECK ((image ~ '^[a-z0-9][a-z0-9.-]{0,62}$'::text)),
    CONSTRAINT host_images_login_user_check CHECK ((login_user ~ '^[a-z_][a-z0-9_-]{0,31}$'::text)),
    CONSTRAINT host_images_min_disk_gb_check CHECK ((min_disk_gb >= 0)),
    CONSTRAINT host_images_min_memory_mb_check CHECK ((min_memory_mb >= 0)),
    CONSTRAINT host_images_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT host_images_title_check CHECK ((length(title) <= 200))
);
CREATE TABLE public.hosts (
    id text NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    state text DEFAULT 'invited'::text NOT NULL,
    accepts boolean DEFAULT true NOT NULL,
    certificate bytea,
    old_certificate bytea,
    generation bigint DEFAULT 0 NOT NULL,
    last_seen timestamp with time zone,
    online boolean DEFAULT false NOT NULL,
    problem text DEFAULT ''::text NOT NULL,
    version text DEFAULT ''::text NOT NULL,
    hypervisor text DEFAULT ''::text NOT NULL,
    cpus integer DEFAULT 0 NOT NULL,
    memory_mb integer DEFAULT 0 NOT NULL,
    disk_free_mb bigint DEFAULT 0 NOT NULL,
    local boolean DEFAULT false NOT NULL,
    disk_mb bigint DEFAULT 0 NOT NULL,
    max_vms integer DEFAULT 0 NOT NULL,
    CONSTRAINT hosts_cpus_check CHECK ((cpus >= 0)),
    CONSTRAINT hosts_disk_free_mb_check CHECK ((disk_free_mb >= 0)),
    CONSTRAINT hosts_disk_mb_check CHECK ((disk_mb >= 0)),
    CONSTRAINT hosts_id_check CHECK ((id ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT hosts_max_vms_check CHECK ((max_vms >= 0)),
    CONSTRAINT hosts_memory_mb_check CHECK ((memory_mb >= 0)),
    CONSTRAINT hosts_state_check CHECK ((state = ANY (ARRAY['invited'::text, 'joined'::text, 'revoked'::text])))
);
CREATE TABLE public.images (
    id text NOT NULL,
    title text NOT NULL,
    login_user text NOT NULL,
    min_disk_gb integer NOT NULL,
    min_memory_mb integer NOT NULL,
    deprecated boolean DEFAULT false NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT images_id_check CHECK ((id ~ '^[a-z0-9][a-z0-9.-]{0,62}$'::text)),
    CONSTRAINT images_min_disk_gb_check CHECK ((min_disk_gb >= 0)),
    CONSTRAINT images_min_memory_mb_check CHECK ((min_memory_mb >= 0))
);
CREATE TABLE public.join_tokens (
    token_hash bytea NOT NULL,
    host text NOT NULL,
    created timestamp with time zone NOT NULL,
    expires timestamp with time zone NOT NULL,
    used timestamp with time zone,
    CONSTRAINT join_tokens_token_hash_check CHECK ((length(token_hash) = 32))
);
CREATE TABLE public.key_ring (
    name text NOT NULL,
    content bytea NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.mails (
    id bigint NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    created timestamp with time zone NOT NULL,
    run_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    sent timestamp with time zone,
    given_up timestamp with time zone,
    problem text,
    secret text DEFAULT ''::text NOT NULL,
    expires timestamp with time zone,
    CONSTRAINT mails_check CHECK (((sent IS NULL) OR (given_up IS NULL)))
);
ALTER TABLE public.mails ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.mails_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.operation_events (
    id bigint NOT NULL,
    operation bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    step text NOT NULL,
    message text NOT NULL
);
ALTER TABLE public.operation_events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.operation_events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.operations (
    id bigint NOT NULL,
    kind text NOT NULL,
    vm text NOT NULL,
    email text NOT NULL,
    step text NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    run_at timestamp with time zone NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    created timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    finished timestamp with time zone,
    asked text,
    problem text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    CONSTRAINT operations_asked_check CHECK ((asked = ANY (ARRAY['cancel'::text, 'force'::text]))),
    CONSTRAINT operations_check CHECK (((finished IS NOT NULL) = (status = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text])))),
    CONSTRAINT operations_status_check CHECK ((status = ANY (ARRAY['running'::text, 'undoing'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);
ALTER TABLE public.operations ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.operations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.operator_statements (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    operator text NOT NULL,
    statement text NOT NULL,
    rows bigint,
    CONSTRAINT operator_statements_rows_check CHECK ((rows >= 0))
);
ALTER TABLE public.operator_statements ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.operator_statements_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.payments (
    id integer NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    email text NOT NULL,
    dollars numeric(12,2) NOT NULL,
    method text NOT NULL,
    invalidated boolean DEFAULT false NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    CONSTRAINT payments_dollars_check CHECK ((dollars > (0)::numeric)),
    CONSTRAINT payments_method_check CHECK ((method = ANY (ARRAY['cash'::text, 'play'::text, 'stripe'::text, 'btcpay'::text])))
);
ALTER TABLE public.payments ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.payments_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.schema_scripts (
    version integer NOT NULL,
    name text NOT NULL,
    applied timestamp with time zone DEFAULT now() NOT NULL,
    applied_by text NOT NULL,
    took_ms integer,
    raw_checksum text NOT NULL,
    checksum text NOT NULL,
    down_checksum text,
    compared_with text DEFAULT ''::text NOT NULL,
    CONSTRAINT schema_scripts_took_ms_check CHECK ((took_ms >= 0))
);
CREATE TABLE public.schema_statements (
    version integer NOT NULL,
    up boolean NOT NULL,
    ordinal integer NOT NULL,
    statement text NOT NULL,
    alone boolean NOT NULL,
    outcome text NOT NULL,
    started timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished timestamp with time zone,
    problem text DEFAULT ''::text NOT NULL,
    CONSTRAINT schema_statements_check CHECK (((finished IS NULL) = (outcome = 'running'::text))),
    CONSTRAINT schema_statements_ordinal_check CHECK ((ordinal > 0)),
    CONSTRAINT schema_statements_outcome_check CHECK ((outcome = ANY (ARRAY['running'::text, 'done'::text, 'failed'::text])))
);
CREATE TABLE public.schemaversion (
    version integer NOT NULL
);
CREATE TABLE public.seat (
    only_row boolean DEFAULT true NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    holder text DEFAULT ''::text NOT NULL,
    taken_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT seat_only_row_check CHECK (only_row)
);
CREATE TABLE public.sessions (
    id_hash bytea NOT NULL,
    email text NOT NULL,
    created timestamp with time zone NOT NULL,
    expires timestamp with time zone NOT NULL,
    CONSTRAINT sessions_id_hash_check CHECK ((length(id_hash) = 32))
);
CREATE TABLE public.sign_in_tokens (
    token_hash bytea NOT NULL,
    email text NOT NULL,
    ip inet NOT NULL,
    created timestamp with time zone NOT NULL,
    expires timestamp with time zone NOT NULL,
    used timestamp with time zone,
    return_path text DEFAULT ''::text NOT NULL,
    CONSTRAINT sign_in_tokens_email_check CHECK ((email = lower(email))),
    CONSTRAINT sign_in_tokens_token_hash_check CHECK ((length(token_hash) = 32))
);
CREATE TABLE public.sizes (
    id text NOT NULL,
    dollars_per_month numeric(8,2) NOT NULL,
    vcpus integer NOT NULL,
    memory_mb integer NOT NULL,
    disk_gb integer NOT NULL,
    retired boolean DEFAULT false NOT NULL,
    CONSTRAINT sizes_disk_gb_check CHECK ((disk_gb > 0)),
    CONSTRAINT sizes_dollars_per_month_check CHECK ((dollars_per_month >= (0)::numeric)),
    CONSTRAINT sizes_id_check CHECK ((id ~ '^[a-z0-9-]{1,32}$'::text)),
    CONSTRAINT sizes_memory_mb_check CHECK ((memory_mb >= 64)),
    CONSTRAINT sizes_vcpus_check CHECK ((vcpus > 0))
);
CREATE TABLE public.ssh_keys (
    id bigint NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    created timestamp with time zone NOT NULL,
    CONSTRAINT ssh_keys_name_check CHECK (((length(name) >= 1) AND (length(name) <= 64)))
);
ALTER TABLE public.ssh_keys ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.ssh_keys_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.usage_spans (
    id bigint NOT NULL,
    vm text NOT NULL,
    email text NOT NULL,
    span tstzrange NOT NULL,
    dollars_per_month numeric(8,2) NOT NULL,
    CONSTRAINT usage_spans_dollars_per_month_check CHECK ((dollars_per_month >= (0)::numeric)),
    CONSTRAINT usage_spans_span_check CHECK (((NOT isempty(span)) AND lower_inc(span) AND (NOT lower_inf(span))))
);
ALTER TABLE public.usage_spans ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.usage_spans_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.vm_ssh_host_keys (
    vm text NOT NULL,
    type text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL
);
CREATE TABLE public.vm_ssh_keys (
    vm text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    key text NOT NULL
);
CREATE TABLE public.vms (
    id text NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    size text NOT NULL,
    image text NOT NULL,
    image_sha256 text NOT NULL,
    login_user text NOT NULL,
    host text NOT NULL,
    created timestamp with time zone NOT NULL,
    deleted timestamp with time zone,
    dollars_per_month numeric(8,2) NOT NULL,
    vcpus integer NOT NULL,
    memory_mb integer NOT NULL,
    disk_gb integer NOT NULL,
    state text NOT NULL,
    wanted text NOT NULL,
    wanted_generation bigint NOT NULL,
    restarts integer DEFAULT 0 NOT NULL,
    stop_grace_seconds integer DEFAULT 0 NOT NULL,
    observed text DEFAULT 'unknown'::text NOT NULL,
    observed_generation bigint DEFAULT 0 NOT NULL,
    observed_restarts integer DEFAULT 0 NOT NULL,
    observed_at timestamp with time zone,
    phase integer DEFAULT 0 NOT NULL,
    ssh_host text DEFAULT ''::text NOT NULL,
    ssh_port integer DEFAULT 0 NOT NULL,
    console_tail text DEFAULT ''::text NOT NULL,
    problem text DEFAULT ''::text NOT NULL,
    problem_final boolean DEFAULT false NOT NULL,
    has_run boolean DEFAULT false NOT NULL,
    CONSTRAINT vms_deleted_is_gone CHECK (((deleted IS NULL) OR ((state = ANY (ARRAY['deleted'::text, 'failed'::text])) AND (wanted = 'gone'::text)))),
    CONSTRAINT vms_dollars_per_month_check CHECK ((dollars_per_month >= (0)::numeric)),
    CONSTRAINT vms_id_check CHECK ((id ~ '^capsul-[a-z0-9]{10}$'::text)),
    CONSTRAINT vms_name_check CHECK ((name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'::text)),
    CONSTRAINT vms_observed_check CHECK ((observed = ANY (ARRAY['unknown'::text, 'off'::text, 'on'::text, 'gone'::text]))),
    CONSTRAINT vms_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'running'::text, 'stopped'::text, 'starting'::text, 'stopping'::text, 'restarting'::text, 'deleting'::text, 'deleted'::text, 'failed'::text]))),
    CONSTRAINT vms_wanted_check CHECK ((wanted = ANY (ARRAY['on'::text, 'off'::text, 'gone'::text])))
);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (email);
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_mac_once UNIQUE (host, mac);
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_one_for_a_vm UNIQUE (vm);
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_pkey PRIMARY KEY (host, address);
ALTER TABLE ONLY public.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_lines
    ADD CONSTRAINT audit_lines_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups
    ADD CONSTRAINT backups_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.host_images
    ADD CONSTRAINT host_images_pkey PRIMARY KEY (host, image);
ALTER TABLE ONLY public.hosts
    ADD CONSTRAINT hosts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.images
    ADD CONSTRAINT images_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.key_ring
    ADD CONSTRAINT key_ring_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.operation_events
    ADD CONSTRAINT operation_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.operator_statements
    ADD CONSTRAINT operator_statements_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.schema_scripts
    ADD CONSTRAINT schema_scripts_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.schema_statements
    ADD CONSTRAINT schema_statements_pkey PRIMARY KEY (version, up, ordinal);
ALTER TABLE ONLY public.seat
    ADD CONSTRAINT seat_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id_hash);
ALTER TABLE ONLY public.sign_in_tokens
    ADD CONSTRAINT sign_in_tokens_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.sizes
    ADD CONSTRAINT sizes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ssh_keys
    ADD CONSTRAINT ssh_keys_key_once UNIQUE (email, fingerprint);
ALTER TABLE ONLY public.ssh_keys
    ADD CONSTRAINT ssh_keys_name_once UNIQUE (email, name);
ALTER TABLE ONLY public.ssh_keys
    ADD CONSTRAINT ssh_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_spans
    ADD CONSTRAINT usage_spans_no_overlap EXCLUDE USING gist (vm WITH =, span WITH &&);
ALTER TABLE ONLY public.usage_spans
    ADD CONSTRAINT usage_spans_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vm_ssh_host_keys
    ADD CONSTRAINT vm_ssh_host_keys_pkey PRIMARY KEY (vm, type);
ALTER TABLE ONLY public.vm_ssh_keys
    ADD CONSTRAINT vm_ssh_keys_pkey PRIMARY KEY (vm, name);
ALTER TABLE ONLY public.vms
    ADD CONSTRAINT vms_pkey PRIMARY KEY (id);
CREATE INDEX addresses_free ON public.addresses USING btree (host, freed NULLS FIRST, address) WHERE (vm IS NULL);
CREATE UNIQUE INDEX alerts_open_once ON public.alerts USING btree (kind, subject) WHERE (cleared IS NULL);
CREATE INDEX audit_lines_subject ON public.audit_lines USING btree (subject, at);
CREATE INDEX backups_started ON public.backups USING btree (started);
CREATE INDEX mails_due ON public.mails USING btree (run_at) WHERE ((sent IS NULL) AND (given_up IS NULL));
CREATE INDEX operation_events_operation ON public.operation_events USING btree (operation, id);
CREATE INDEX operations_due ON public.operations USING btree (run_at) WHERE (finished IS NULL);
CREATE UNIQUE INDEX operations_one_for_a_vm ON public.operations USING btree (vm) WHERE (finished IS NULL);
CREATE INDEX operations_vm ON public.operations USING btree (vm, id);
CREATE INDEX operator_statements_at ON public.operator_statements USING btree (at);
CREATE INDEX payments_email ON public.payments USING btree (email);
CREATE INDEX sessions_email ON public.sessions USING btree (email);
CREATE INDEX sign_in_tokens_created ON public.sign_in_tokens USING btree (created);
CREATE INDEX sign_in_tokens_email ON public.sign_in_tokens USING btree (email, created);
CREATE INDEX sign_in_tokens_ip ON public.sign_in_tokens USING btree (ip, created);
CREATE INDEX usage_spans_email ON public.usage_spans USING btree (email);
CREATE INDEX vms_email ON public.vms USING btree (email);
CREATE INDEX vms_host_alive ON public.vms USING btree (host) WHERE (deleted IS NULL);
CREATE UNIQUE INDEX vms_name_once ON public.vms USING btree (email, name) WHERE (deleted IS NULL);
CREATE TRIGGER hosts_told AFTER UPDATE OF generation, state ON public.hosts FOR EACH ROW EXECUTE FUNCTION public.tell_host();
CREATE TRIGGER mails_told AFTER INSERT ON public.mails FOR EACH STATEMENT EXECUTE FUNCTION public.tell_mails();
CREATE TRIGGER operations_told AFTER INSERT OR UPDATE OF run_at ON public.operations FOR EACH STATEMENT EXECUTE FUNCTION public.tell_operations();
CREATE TRIGGER operator_statements_only_grow BEFORE DELETE OR UPDATE OR TRUNCATE ON public.operator_statements FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER seat_epoch_grows BEFORE UPDATE ON public.seat FOR EACH ROW EXECUTE FUNCTION public.refuse_older_epoch();
CREATE TRIGGER vms_told AFTER INSERT OR UPDATE ON public.vms FOR EACH ROW EXECUTE FUNCTION public.tell_vm();
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_host_fkey FOREIGN KEY (host) REFERENCES public.hosts(id);
ALTER TABLE ONLY public.addresses
    ADD CONSTRAINT addresses_vm_fkey FOREIGN KEY (vm) REFERENCES public.vms(id);
ALTER TABLE ONLY public.host_images
    ADD CONSTRAINT host_images_host_fkey FOREIGN KEY (host) REFERENCES public.hosts(id);
ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_host_fkey FOREIGN KEY (host) REFERENCES public.hosts(id);
ALTER TABLE ONLY public.operation_events
    ADD CONSTRAINT operation_events_operation_fkey FOREIGN KEY (operation) REFERENCES public.operations(id);
ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_vm_fkey FOREIGN KEY (vm) REFERENCES public.vms(id);
ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.ssh_keys
    ADD CONSTRAINT ssh_keys_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.usage_spans
    ADD CONSTRAINT usage_spans_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.usage_spans
    ADD CONSTRAINT usage_spans_vm_fkey FOREIGN KEY (vm) REFERENCES public.vms(id);
ALTER TABLE ONLY public.vm_ssh_host_keys
    ADD CONSTRAINT vm_ssh_host_keys_vm_fkey FOREIGN KEY (vm) REFERENCES public.vms(id);
ALTER TABLE ONLY public.vm_ssh_keys
    ADD CONSTRAINT vm_ssh_keys_vm_fkey FOREIGN KEY (vm) REFERENCES public.vms(id);
ALTER TABLE ONLY public.vms
    ADD CONSTRAINT vms_email_fkey FOREIGN KEY (email) REFERENCES public.accounts(email) ON UPDATE CASCADE;
ALTER TABLE ONLY public.vms
    ADD CONSTRAINT vms_host_fkey FOREIGN KEY (host) REFERENCES public.hosts(id);
ALTER TABLE ONLY public.vms
    ADD CONSTRAINT vms_image_fkey FOREIGN KEY (image) REFERENCES public.images(id);
ALTER TABLE ONLY public.vms
    ADD CONSTRAINT vms_size_fkey FOREIGN KEY (size) REFERENCES public.sizes(id);
