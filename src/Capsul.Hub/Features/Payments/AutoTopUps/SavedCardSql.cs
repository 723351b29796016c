namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>A card of an account, or the page on which it is entered.</summary>
/// <param name="Status">new, open, saved, removing, removed or failed.</param>
/// <param name="Expires">The first day on which it is not valid any more.</param>
/// <param name="Failing">Since when the provider gives no answer.</param>
public sealed record SavedCardRow(long Id, string Provider, string Email, DateTime Created, string Status, string Url,
    string Brand, string LastFour, DateOnly? Expires, DateTime? Failing)
{
    /// <summary>Such as "Visa that ends in 4242".</summary>
    public string Name => $"{(Brand.Length > 0 ? char.ToUpperInvariant(Brand[0]) + Brand[1..] : "Card")} that ends in "
        + LastFour;

    /// <summary>The last month in which it is valid.</summary>
    public DateOnly? Until => Expires?.AddDays(-1);
}

/// <summary>A card whose provider is about to be asked.</summary>
public sealed record ClaimedCardRow(long Id, string Provider, string Email, string Key, DateTime Created,
    string ReturnTo, string Status, string? Customer, string? Reference, string? Method, int Tries);

/// <summary>Statements over <c>saved_cards</c>.</summary>
public static class SavedCardSql
{
    const string Columns = """
        c.id, c.provider, c.email, c.created, c.status, c.url, c.brand, c.last_four, c.expires,
            c.failing_since AS failing
        """;

    public const string Add = """
        -- SavedCardSql.Add
        INSERT INTO saved_cards (provider, email, key, created, return_to, next_poll)
        VALUES (@provider, @email, @key, @now, @returnTo, @now) RETURNING id
        """;

    /// <summary>The card that can be charged.</summary>
    public const string FindSaved = $"""
        -- SavedCardSql.FindSaved
        SELECT {Columns} FROM saved_cards c WHERE c.email = @email AND c.status = 'saved'
        """;

    /// <summary>The page on which one can be entered.</summary>
    public const string FindPage = $"""
        -- SavedCardSql.FindPage
        SELECT {Columns} FROM saved_cards c WHERE c.email = @email AND c.status IN ('new', 'open')
        """;

    public const string CountPages = """
        -- SavedCardSql.CountPages
        SELECT count(*) FROM saved_cards WHERE email = @email AND created > @since
        """;

    /// <summary>An event says that there is news.</summary>
    public const string Wake = """
        -- SavedCardSql.Wake
        UPDATE saved_cards SET next_poll = @now WHERE key = @key AND provider = @provider AND status = 'open'
        """;

    /// <summary>The person has come back from the provider.</summary>
    public const string Hurry = """
        -- SavedCardSql.Hurry
        UPDATE saved_cards SET next_poll = @now
        WHERE email = @email AND status = 'open' AND next_poll > @now AND claimed IS NULL
        """;

    /// <summary>
    /// Cards whose provider is to be asked now. One that is being charged is not taken away before that is done.
    /// </summary>
    public const string Claim = """
        -- SavedCardSql.Claim
        UPDATE saved_cards c SET claimed = @epoch, tries = c.tries + 1
        WHERE c.id = ANY(ARRAY(SELECT s.id FROM saved_cards s WHERE s.next_poll <= @now AND s.claimed IS NULL
                AND NOT EXISTS (SELECT FROM provider_payments p WHERE s.status = 'removing' AND p.card = s.id
                    AND p.status IN ('new', 'pending'))
            ORDER BY s.next_poll LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED))
        RETURNING c.id, c.provider, c.email, c.key, c.created, c.return_to, c.status, c.customer, c.reference,
            c.method, c.tries
        """;

    /// <summary>Of a Hub that ended while it was asking, or of this one before it was interrupted.</summary>
    public const string Release = """
        -- SavedCardSql.Release
        UPDATE saved_cards SET claimed = NULL WHERE claimed <= @epoch
        """;

    public const string NextPoll = """
        -- SavedCardSql.NextPoll
        SELECT min(next_poll) FROM saved_cards WHERE next_poll IS NOT NULL AND claimed IS NULL
        """;

    public const string LockAccount = """
        -- SavedCardSql.LockAccount
        SELECT a.email FROM saved_cards c JOIN accounts a ON a.email = c.email WHERE c.id = @id
        FOR NO KEY UPDATE OF a
        """;

    public const string RecordPage = """
        -- SavedCardSql.RecordPage
        UPDATE saved_cards SET status = 'open', customer = @customer, reference = @reference, url = @url,
            next_poll = @nextPoll, claimed = NULL, tries = 0, failing_since = NULL, problem = ''
        WHERE id = @id AND status = 'new'
        """;

    /// <summary>Nothing has been entered yet.</summary>
    public const string RecordOpen = """
        -- SavedCardSql.RecordOpen
        UPDATE saved_cards SET next_poll = @nextPoll, claimed = NULL, tries = 0, failing_since = NULL, problem = ''
        WHERE id = @id
        """;

    /// <summary>None was entered, and none will be.</summary>
    public const string RecordNone = """
        -- SavedCardSql.RecordNone
        UPDATE saved_cards SET status = 'failed', url = '', customer = NULL, reference = NULL, next_poll = NULL,
            claimed = NULL, failing_since = NULL, problem = @problem
        WHERE id = @id AND status IN ('new', 'open')
        """;

    public const string RecordCard = """
        -- SavedCardSql.RecordCard
        UPDATE saved_cards SET status = 'saved', url = '', method = @method, brand = @brand, last_four = @lastFour,
            expires = @expires, next_poll = NULL, claimed = NULL, tries = 0, failing_since = NULL, problem = ''
        WHERE id = @id AND status = 'open'
        """;

    /// <summary>It was entered too late: it is taken away at once.</summary>
    public const string RecordUnwanted = """
        -- SavedCardSql.RecordUnwanted
        UPDATE saved_cards SET status = 'removing', url = '', method = @method, next_poll = @now, claimed = NULL,
            tries = 0, failing_since = NULL, problem = ''
        WHERE id = @id AND status = 'open'
        """;

    /// <summary>It is taken away at the provider, and forgotten here.</summary>
    public const string Remove = """
        -- SavedCardSql.Remove
        UPDATE saved_cards SET status = 'removing', brand = '', last_four = '', expires = NULL, next_poll = @now,
            claimed = NULL, tries = 0
        WHERE email = @email AND status = 'saved'
        """;

    public const string RecordRemoved = """
        -- SavedCardSql.RecordRemoved
        UPDATE saved_cards SET status = 'removed', customer = NULL, reference = NULL, method = NULL, next_poll = NULL,
            claimed = NULL, failing_since = NULL, problem = ''
        WHERE id = @id AND status = 'removing'
        """;

    public const string RecordFailure = """
        -- SavedCardSql.RecordFailure
        UPDATE saved_cards SET next_poll = @nextPoll, claimed = NULL, problem = @problem,
            failing_since = coalesce(failing_since, @now)
        WHERE id = @id
        """;
}
