-- capsul: no transaction
-- Automatic top-up: a card that a person has saved at a provider is charged when their balance falls below what they
-- have set, and never for more in a calendar month (UTC) than they have set.

-- A card at a provider. new: the provider has not made its page yet. open: the person can enter the card there. saved.
-- removing: it is to be taken away at the provider. removed. failed: no card was entered.
CREATE TABLE saved_cards (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text NOT NULL CONSTRAINT saved_cards_provider_check CHECK (provider IN ('stripe')),
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    -- The idempotency key of the calls that make the page.
    key         text NOT NULL,
    created     timestamptz NOT NULL,
    return_to   text NOT NULL,
    status      text NOT NULL DEFAULT 'new' CONSTRAINT saved_cards_status_check
        CHECK (status IN ('new', 'open', 'saved', 'removing', 'removed', 'failed')),
    -- The provider's IDs of whose card it is, of its page, and of the card.
    customer    text,
    reference   text,
    method      text,
    url         text NOT NULL DEFAULT '',
    brand       text NOT NULL DEFAULT '' CONSTRAINT saved_cards_brand_check CHECK (length(brand) <= 40),
    last_four   text NOT NULL DEFAULT '' CONSTRAINT saved_cards_last_four_check CHECK (last_four ~ '^([0-9]{4})?$'),
    -- The first day on which it is not valid any more.
    expires     date,
    -- When the provider is asked next; null: there is nothing to ask. claimed: the epoch of the Hub that is asking.
    next_poll   timestamptz,
    claimed     bigint,
    tries       integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    problem     text NOT NULL DEFAULT '',
    CONSTRAINT saved_cards_saved_has_method CHECK ((status IN ('saved', 'removing')) = (method IS NOT NULL)),
    CONSTRAINT saved_cards_charged_has_customer CHECK (status NOT IN ('saved', 'removing') OR customer IS NOT NULL),
    -- Nothing is known any more of a card that is to be removed, but what is needed for that; then nothing.
    CONSTRAINT saved_cards_only_saved_is_known
        CHECK (status = 'saved' OR brand = '' AND last_four = '' AND expires IS NULL),
    CONSTRAINT saved_cards_over_knows_nothing
        CHECK (status NOT IN ('removed', 'failed') OR customer IS NULL AND reference IS NULL),
    CONSTRAINT saved_cards_open_has_page CHECK ((status = 'open') = (url <> ''))
);
CREATE UNIQUE INDEX saved_cards_key_once ON saved_cards (key);
CREATE UNIQUE INDEX saved_cards_reference_once ON saved_cards (provider, reference) WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX saved_cards_method_once ON saved_cards (provider, method) WHERE method IS NOT NULL;
CREATE UNIQUE INDEX saved_cards_saved_once ON saved_cards (email) WHERE status = 'saved';
CREATE UNIQUE INDEX saved_cards_one_page ON saved_cards (email) WHERE status IN ('new', 'open');
CREATE INDEX saved_cards_email ON saved_cards (email, id);
CREATE INDEX saved_cards_next_poll ON saved_cards (next_poll) WHERE next_poll IS NOT NULL;
CREATE INDEX saved_cards_claimed ON saved_cards (claimed) WHERE claimed IS NOT NULL;
CREATE INDEX saved_cards_failing ON saved_cards (failing_since) WHERE failing_since IS NOT NULL;
CREATE TRIGGER saved_cards_account_open BEFORE INSERT ON saved_cards
    FOR EACH ROW EXECUTE FUNCTION refuse_while_closing();
CREATE TRIGGER saved_cards_announced_insert AFTER INSERT ON saved_cards
    FOR EACH ROW EXECUTE FUNCTION announce_provider_payment();
CREATE TRIGGER saved_cards_announced_update AFTER UPDATE ON saved_cards FOR EACH ROW
    WHEN (NEW.claimed IS NULL AND NEW.next_poll < coalesce(OLD.next_poll, 'infinity'::timestamptz))
    EXECUTE FUNCTION announce_provider_payment();

-- What a person has set.
CREATE TABLE auto_top_ups (
    email       text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE,
    threshold   numeric NOT NULL CONSTRAINT auto_top_ups_threshold_check
        CHECK (threshold >= 0 AND threshold < 10000000000 AND threshold = round(threshold, 2)),
    amount      numeric NOT NULL CONSTRAINT auto_top_ups_amount_check
        CHECK (amount > 0 AND amount < 10000000000 AND amount = round(amount, 2)),
    -- The most in a calendar month.
    cap         numeric NOT NULL CONSTRAINT auto_top_ups_cap_check
        CHECK (cap >= amount AND cap < 10000000000 AND cap = round(cap, 2)),
    enabled     boolean NOT NULL,
    -- Why it is off.
    off_because text NOT NULL DEFAULT '' CONSTRAINT auto_top_ups_off_because_check CHECK (off_because IN ('', 'owner',
        'operator', 'declined', 'refunded', 'disputed', 'doubtful', 'closing', 'card')),
    -- Charges in a row that were declined, why the last one was, and until when there is no other.
    declines    integer NOT NULL DEFAULT 0 CONSTRAINT auto_top_ups_declines_check CHECK (declines >= 0),
    decline     text NOT NULL DEFAULT '' CONSTRAINT auto_top_ups_decline_check CHECK (length(decline) <= 100),
    paused_until timestamptz,
    last_charge timestamptz,
    changed     timestamptz NOT NULL,
    CONSTRAINT auto_top_ups_off_has_reason CHECK (enabled = (off_because = ''))
);
CREATE INDEX auto_top_ups_enabled ON auto_top_ups (email) WHERE enabled;

-- A payment that nobody has begun: of a saved card, or, after a restore, found at the provider. Why it was declined.
ALTER TABLE provider_payments ADD COLUMN automatic boolean NOT NULL DEFAULT FALSE;
ALTER TABLE provider_payments ADD COLUMN card bigint;
ALTER TABLE provider_payments ADD COLUMN decline text NOT NULL DEFAULT '';
ALTER TABLE provider_payments ADD CONSTRAINT provider_payments_card_fkey FOREIGN KEY (card)
    REFERENCES saved_cards NOT VALID;
ALTER TABLE provider_payments VALIDATE CONSTRAINT provider_payments_card_fkey;
ALTER TABLE provider_payments ADD CONSTRAINT provider_payments_card_is_automatic
    CHECK (automatic OR card IS NULL AND decline = '') NOT VALID;
ALTER TABLE provider_payments VALIDATE CONSTRAINT provider_payments_card_is_automatic;
CREATE UNIQUE INDEX CONCURRENTLY provider_payments_one_automatic ON provider_payments (email)
    WHERE automatic AND status IN ('new', 'pending');
CREATE INDEX CONCURRENTLY provider_payments_automatic ON provider_payments (email, created) WHERE automatic;
CREATE INDEX CONCURRENTLY provider_payments_card ON provider_payments (card) WHERE card IS NOT NULL;

-- What was charged automatically in the calendar month of that time, in UTC. What was declined was not charged.
CREATE FUNCTION charged_in_month(account text, at timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(p.amount), 0) FROM provider_payments p
    WHERE p.email = account AND p.automatic AND p.status <> 'failed'
        AND p.created >= date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
        AND p.created < (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
$$;

-- A card is charged what its owner wants, and within the cap, whoever writes it.
CREATE FUNCTION check_automatic_charge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted auto_top_ups;
    charged numeric;
BEGIN
    -- Two at the same time wait for each other here. It is a change, so that no isolation level lets both through.
    UPDATE auto_top_ups SET last_charge = NEW.created WHERE email = NEW.email RETURNING * INTO wanted;
    IF (wanted.enabled AND wanted.amount = NEW.amount AND EXISTS (SELECT FROM saved_cards c WHERE c.id = NEW.card
            AND c.email = NEW.email AND c.provider = NEW.provider AND c.status = 'saved')) IS NOT TRUE THEN
        RAISE EXCEPTION 'the account % does not want a charge of %', NEW.email, NEW.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'automatic_charges_are_wanted';
    END IF;
    charged := charged_in_month(NEW.email, NEW.created);
    IF charged + NEW.amount > wanted.cap THEN
        RAISE EXCEPTION 'the account % allows % a month, of which % was charged: % is too much', NEW.email, wanted.cap,
            charged, NEW.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'automatic_charges_within_cap';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER provider_payments_automatic_checked BEFORE INSERT ON provider_payments FOR EACH ROW
    WHEN (NEW.automatic AND NEW.status = 'new') EXECUTE FUNCTION check_automatic_charge();

-- What counts for the cap stays.
CREATE FUNCTION refuse_charge_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the charge of payment % stays what it is', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'automatic_charges_stay';
END $$;
CREATE TRIGGER provider_payments_automatic_stay BEFORE UPDATE ON provider_payments FOR EACH ROW
    WHEN (NEW.automatic <> OLD.automatic OR OLD.automatic AND (NEW.amount IS DISTINCT FROM OLD.amount
        OR NEW.card IS DISTINCT FROM OLD.card OR NEW.created IS DISTINCT FROM OLD.created
        OR NEW.key IS DISTINCT FROM OLD.key)) EXECUTE FUNCTION refuse_charge_change();

-- Money of a charge that goes back would be charged again: the person decides whether it goes on.
CREATE FUNCTION stop_auto_top_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'provider_refunds' THEN
        UPDATE auto_top_ups a SET enabled = FALSE, off_because = 'refunded' FROM provider_payments p
        WHERE p.id = NEW.payment AND p.automatic AND a.email = p.email AND a.enabled;
    ELSE
        UPDATE auto_top_ups SET enabled = FALSE,
            off_because = CASE WHEN NEW.held > OLD.held THEN 'disputed' ELSE 'refunded' END
        WHERE email = NEW.email AND enabled;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER provider_refunds_stop_auto AFTER INSERT ON provider_refunds
    FOR EACH ROW EXECUTE FUNCTION stop_auto_top_up();
CREATE TRIGGER provider_payments_stop_auto AFTER UPDATE ON provider_payments FOR EACH ROW
    WHEN (NEW.automatic AND (NEW.held > OLD.held OR NEW.refunded > OLD.refunded))
    EXECUTE FUNCTION stop_auto_top_up();

-- The card of a closed account is taken away at the provider, and nothing else of it is known.
CREATE FUNCTION forget_cards() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM auto_top_ups WHERE email IN (OLD.email, NEW.email);
    UPDATE saved_cards SET status = 'removing', brand = '', last_four = '', expires = NULL, next_poll = now(),
        reference = NULL
    WHERE email IN (OLD.email, NEW.email) AND status = 'saved';
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_forget_cards AFTER UPDATE ON accounts FOR EACH ROW
    WHEN (NEW.email <> OLD.email AND is_closed(NEW.email)) EXECUTE FUNCTION forget_cards();
