using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments;

/// <summary>A payment through a provider, for people.</summary>
/// <param name="Credited">What was decided last: what counted then, and what had been taken back by hand.</param>
/// <param name="Counts">For the account, now: in rows of payments.</param>
/// <param name="Failing">Since when the provider gives no answer.</param>
/// <param name="ByFriend">Somebody else has paid, and is who gets it back.</param>
/// <param name="Automatic">Nobody has begun it: a saved card is charged.</param>
/// <param name="Decline">Why such a charge was declined, in the provider's code.</param>
public sealed record ProviderPaymentRow(long Id, string Provider, string Email, decimal Amount, DateTime Created,
    string? Reference, string? Charge, string Url, string Status, decimal Received, decimal Refunded, decimal Held,
    string Dispute, decimal Fee, decimal Credited, decimal Counts, DateTime? Asked, DateTime? NextPoll,
    DateTime? Failing, string Problem, bool ByFriend, bool Automatic, string Decline)
{
    /// <summary>What the provider says is not believed, and so does not count.</summary>
    public bool IsDoubtful => Automatic && Problem.Length > 0 && Credited == 0;

    /// <summary>What may still change by itself within minutes.</summary>
    public bool IsMoving => Status is "new" or "open" or "pending";

    /// <summary>As the provider said last, in our currency.</summary>
    public PaymentState State(string currency) =>
        new(Status, Received, Refunded, Held, Dispute, Fee, Charge, currency);
}

/// <summary>A payment whose provider is about to be asked.</summary>
/// <param name="Automatic">A saved card is charged; otherwise there is a page on which somebody pays.</param>
/// <param name="Customer">The provider's ID of whose card it is; null: it is no longer known.</param>
/// <param name="Method">The provider's ID of the card.</param>
/// <param name="LastEvent">The newest event about it; what the provider answers now is newer than that.</param>
public sealed record ClaimedPaymentRow(long Id, string Provider, string Email, decimal Amount, string Key,
    DateTime Created, string ReturnTo, string? Reference, string? Charge, int Tries, bool Automatic, string? Customer,
    string? Method, long LastEvent);

/// <summary>What is known of a payment when its provider's answer is written down.</summary>
/// <param name="Sending">What may still go back by refunds of ours.</param>
/// <param name="Sent">What has gone back by them.</param>
/// <param name="Unanswered">The provider does not know one of them yet.</param>
/// <param name="Offered">Since when one can be claimed, or is pending; null: none is.</param>
/// <param name="Pending">What the provider has of them, and does not know whether it goes through.</param>
/// <param name="Done">When the newest of those was made that are done; null: none is.</param>
/// <param name="Claimed">Waits at the provider for somebody to pay it.</param>
/// <param name="News">An event has come since the provider was asked.</param>
public sealed record KnownPaymentRow(string Status, decimal Credited, decimal Sending, decimal Sent, bool Unanswered,
    DateTime? Offered, decimal Pending, DateTime? Done, decimal Claimed, bool News);

/// <summary>A row of payments that belongs to a payment through a provider.</summary>
public sealed record CreditRow(int Id, decimal Dollars, bool Invalidated);

/// <summary>Statements over <c>provider_payments</c>.</summary>
public static class ProviderPaymentSql
{
    const string Columns = """
        p.id, p.provider, p.email, p.amount, p.created, p.reference, p.charge, p.url, p.status, p.received, p.refunded,
            p.held, p.dispute, p.fee, p.credited, coalesce((SELECT sum(c.dollars) FROM payments c
                WHERE c.provider_payment = p.id AND NOT c.invalidated), 0) AS counts, p.asked, p.next_poll,
            p.failing_since AS failing, p.problem, p.payer_hash IS NOT NULL AS by_friend, p.automatic, p.decline
        """;

    public const string Add = """
        -- ProviderPaymentSql.Add
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, next_poll)
        VALUES (@provider, @email, @amount, @key, @now, '', @now) RETURNING id
        """;

    /// <summary>Of somebody else, who is shown it by a secret.</summary>
    public const string AddByFriend = """
        -- ProviderPaymentSql.AddByFriend
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, next_poll, friend_link,
            payer_hash)
        VALUES (@provider, @email, @amount, @key, @now, @returnTo, @now, @link, @hash) RETURNING id
        """;

    /// <summary>Of a saved card. The database checks that its owner wants it, and the cap of the month.</summary>
    public const string AddCharge = """
        -- ProviderPaymentSql.AddCharge
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, next_poll, automatic, card)
        VALUES (@provider, @email, @amount, @key, @now, '', @now, TRUE, @card) RETURNING id
        """;

    public const string SetDecline = """
        -- ProviderPaymentSql.SetDecline
        UPDATE provider_payments SET decline = @decline WHERE id = @id
        """;

    public const string FindForPayer = $"""
        -- ProviderPaymentSql.FindForPayer
        SELECT {Columns} FROM provider_payments p WHERE p.payer_hash = @hash
        """;

    /// <summary>The path has its number.</summary>
    public const string SetReturn = """
        -- ProviderPaymentSql.SetReturn
        UPDATE provider_payments SET return_to = @returnTo WHERE id = @id
        """;

    public const string CountMoving = """
        -- ProviderPaymentSql.CountMoving
        SELECT count(*) FROM provider_payments WHERE email = @email AND status IN ('new', 'open') AND created > @since
            AND friend_link IS NULL AND NOT automatic
        """;

    /// <summary>An account's own; another's is not found.</summary>
    public const string FindOwn = $"""
        -- ProviderPaymentSql.FindOwn
        SELECT {Columns} FROM provider_payments p WHERE p.id = @id AND p.email = @email
        """;

    public const string OfCharge = """
        -- ProviderPaymentSql.OfCharge
        SELECT id FROM provider_payments WHERE provider = @provider AND charge = @charge
        """;

    public const string Find = $"""
        -- ProviderPaymentSql.Find
        SELECT {Columns} FROM provider_payments p WHERE p.id = @id
        """;

    /// <summary>Newest first; a page begins after (older than) @after, or with the newest if that is 0.</summary>
    public const string ListOwn = $"""
        -- ProviderPaymentSql.ListOwn
        SELECT {Columns} FROM provider_payments p
        WHERE p.email = @email AND p.id < coalesce(nullif(@after, 0), 9223372036854775807)
        ORDER BY p.id DESC LIMIT @limit
        """;

    public const string ListAll = $"""
        -- ProviderPaymentSql.ListAll
        SELECT {Columns} FROM provider_payments p WHERE p.id < coalesce(nullif(@after, 0), 9223372036854775807)
        ORDER BY p.id DESC LIMIT @limit
        """;

    public const string ListProblems = $"""
        -- ProviderPaymentSql.ListProblems
        SELECT {Columns} FROM provider_payments p
        WHERE p.problem <> '' AND p.id < coalesce(nullif(@after, 0), 9223372036854775807)
        ORDER BY p.id DESC LIMIT @limit
        """;

    /// <summary>The provider is asked soon, unless it was just asked.</summary>
    public const string Hurry = """
        -- ProviderPaymentSql.Hurry
        UPDATE provider_payments SET next_poll = @now
        WHERE id = @id AND next_poll > @now AND claimed IS NULL AND coalesce(asked, created) < @before
        """;

    /// <summary>
    /// Payments whose provider is to be asked now, the longest due first. Nobody else takes them until the answer is
    /// written down.
    /// </summary>
    public const string Claim = """
        -- ProviderPaymentSql.Claim
        UPDATE provider_payments p SET claimed = @epoch, tries = p.tries + 1
        FROM (SELECT id FROM provider_payments WHERE next_poll <= @now AND claimed IS NULL ORDER BY next_poll
            LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED) AS d
        WHERE p.id = d.id
        RETURNING p.id, p.provider, p.email, p.amount, p.key, p.created, p.return_to, p.reference, p.charge, p.tries,
            p.automatic, (SELECT c.customer FROM saved_cards c WHERE c.id = p.card) AS customer,
            (SELECT c.method FROM saved_cards c WHERE c.id = p.card) AS method,
            coalesce((SELECT max(e.id) FROM provider_events e WHERE e.payment = p.id), 0) AS last_event
        """;

    /// <summary>Of a Hub that ended while it was asking, or of this one before it was interrupted.</summary>
    public const string Release = """
        -- ProviderPaymentSql.Release
        UPDATE provider_payments SET claimed = NULL WHERE claimed <= @epoch
        """;

    public const string NextPoll = """
        -- ProviderPaymentSql.NextPoll
        SELECT min(next_poll) FROM provider_payments WHERE next_poll IS NOT NULL AND claimed IS NULL
        """;

    /// <summary>The lock comes first: what is read besides is read after it.</summary>
    public const string LockAccount = """
        -- ProviderPaymentSql.LockAccount
        SELECT a.email FROM provider_payments p JOIN accounts a ON a.email = p.email WHERE p.id = @id
        FOR KEY SHARE OF a
        """;

    public const string Lock = """
        -- ProviderPaymentSql.Lock
        SELECT id FROM provider_payments WHERE id = @id FOR NO KEY UPDATE
        """;

    public const string Known = """
        -- ProviderPaymentSql.Known
        SELECT p.status, p.credited, r.sending, r.sent, r.unanswered, r.offered, r.pending, r.done, r.claimed,
            EXISTS (SELECT FROM provider_events e WHERE e.payment = p.id AND e.handled IS NULL AND e.id > @lastEvent)
                AS news
        FROM provider_payments p CROSS JOIN LATERAL (
            SELECT coalesce(sum(f.amount - f.sent) FILTER (WHERE f.status IN ('open', 'offered')), 0) AS sending,
                coalesce(sum(f.sent), 0) AS sent, coalesce(bool_or(f.status = 'open'), FALSE) AS unanswered,
                max(f.created) FILTER (WHERE f.status IN ('offered', 'pending')) AS offered,
                coalesce(sum(f.amount) FILTER (WHERE f.status = 'pending'), 0) AS pending,
                max(f.created) FILTER (WHERE f.status = 'done') AS done, coalesce(sum(f.claimed), 0) AS claimed
            FROM provider_refunds f WHERE f.payment = p.id) AS r
        WHERE p.id = @id
        """;

    /// <summary>Where a friend comes back to is a secret: the provider has it now, and nobody else needs it.</summary>
    public const string RecordCheckout = """
        -- ProviderPaymentSql.RecordCheckout
        UPDATE provider_payments SET reference = @reference, url = @url, status = 'open',
            return_to = CASE WHEN friend_link IS NULL THEN return_to ELSE '' END
        WHERE id = @id
        """;

    public const string RecordState = """
        -- ProviderPaymentSql.RecordState
        UPDATE provider_payments SET status = @status, received = @received, refunded = @refunded, held = @held,
            dispute = @dispute, fee = @fee, charge = coalesce(@charge, charge), credited = @credited, asked = @now,
            next_poll = @nextPoll, claimed = NULL, tries = CASE WHEN @waits THEN tries ELSE 0 END,
            failing_since = CASE WHEN @waits THEN coalesce(failing_since, @now) END, problem = @problem
        WHERE id = @id
        """;

    public const string RecordFailure = """
        -- ProviderPaymentSql.RecordFailure
        UPDATE provider_payments SET status = CASE WHEN @failed THEN 'failed' ELSE status END, next_poll = @nextPoll,
            claimed = NULL, problem = @problem, failing_since = coalesce(failing_since, @now),
            return_to = CASE WHEN @failed AND friend_link IS NOT NULL THEN '' ELSE return_to END
        WHERE id = @id
        """;

    public const string SetCredited = """
        -- ProviderPaymentSql.SetCredited
        UPDATE provider_payments SET credited = @credited, next_poll = @now WHERE id = @id
        """;

    /// <summary>
    /// The account is being settled: of these @payments, so much goes back, and the rest was used or given away.
    /// </summary>
    public const string SetKept = """
        -- ProviderPaymentSql.SetKept
        UPDATE provider_payments p SET kept = coalesce((
            SELECT c.dollars - coalesce(b.amount, 0) FROM payments c
                LEFT JOIN unnest(@payments::integer[], @amounts::numeric[]) AS b (payment, amount) ON b.payment = c.id
            WHERE c.provider_payment = p.id AND NOT c.invalidated), 0)
        WHERE p.email = @email AND EXISTS (SELECT FROM payments c WHERE c.provider_payment = p.id)
        """;

    /// <summary>The provider is asked now.</summary>
    public const string AskNow = """
        -- ProviderPaymentSql.AskNow
        UPDATE provider_payments SET next_poll = @now WHERE id = @id
        """;

    /// <summary>
    /// To whom the page of a refund is sent: the account, or the person that it was of. Nothing if neither is known.
    /// </summary>
    public const string Contact = """
        -- ProviderPaymentSql.Contact
        SELECT coalesce(nullif(c.contact, ''), p.email) FROM provider_payments p
            LEFT JOIN account_closings c ON c.email = p.email AND c.settled IS NOT NULL
        WHERE p.id = @id AND (c.contact <> '' OR NOT is_closed(p.email))
        """;

    public const string Credits = """
        -- ProviderPaymentSql.Credits
        SELECT id, dollars, invalidated FROM payments WHERE provider_payment = @id ORDER BY id DESC
        """;

    public const string Validate = """
        -- ProviderPaymentSql.Validate
        UPDATE payments SET invalidated = @invalidated WHERE id = @id AND invalidated <> @invalidated
        """;

    public const string AddCredit = """
        -- ProviderPaymentSql.AddCredit
        INSERT INTO payments (created, email, dollars, method, note, provider_payment)
        SELECT @now, p.email, @dollars, p.provider, @note, p.id FROM provider_payments p WHERE p.id = @id RETURNING id
        """;
}
