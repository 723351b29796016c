namespace Capsul.Hub.Features.Vouchers;

/// <summary>A voucher, without its code.</summary>
/// <param name="Hint">How the code begins.</param>
/// <param name="ForEmail">The only account that may redeem it; empty: any.</param>
/// <param name="Payment">What it became.</param>
/// <param name="RedeemedBy">The account of that payment.</param>
public sealed record VoucherRow(long Id, string Hint, decimal Amount, DateTime Created, string Actor, string Note,
    DateTime? Expires, string ForEmail, DateTime? Withdrawn, DateTime? Redeemed, int? Payment, string? RedeemedBy)
{
    /// <summary>In a word.</summary>
    public string StateAt(DateTime now) => this switch
    {
        { Redeemed: not null } => "redeemed",
        { Withdrawn: not null } => "withdrawn",
        { Expires: { } end } when end <= now => "expired",
        _ => "open",
    };
}

/// <summary>Statements over <c>vouchers</c> and <c>voucher_tries</c>.</summary>
public static class VoucherSql
{
    const string Columns = """
        v.id, v.hint, v.amount, v.created, v.actor, v.note, v.expires, v.for_email, v.withdrawn, v.redeemed, v.payment,
            p.email AS redeemed_by
        """;

    public const string AddMany = """
        -- VoucherSql.AddMany
        INSERT INTO vouchers (code_hash, hint, amount, created, actor, note, expires, for_email)
        SELECT hash, hint, @amount, @now, @actor, @note, @expires, @forEmail
        FROM unnest(@hashes::bytea[], @hints::text[]) AS c (hash, hint)
        """;

    /// <summary>Newest first; a page begins after (older than) @after, or with the newest if that is 0.</summary>
    public const string List = $"""
        -- VoucherSql.List
        SELECT {Columns} FROM vouchers v LEFT JOIN payments p ON p.id = v.payment
        WHERE v.id < coalesce(nullif(@after, 0), 9223372036854775807) ORDER BY v.id DESC LIMIT @limit
        """;

    public const string Find = $"""
        -- VoucherSql.Find
        SELECT {Columns} FROM vouchers v LEFT JOIN payments p ON p.id = v.payment WHERE v.id = @id
        """;

    /// <summary>Whoever comes second waits, and then sees what the first has done.</summary>
    public const string LockByCode = """
        -- VoucherSql.LockByCode
        SELECT id FROM vouchers WHERE code_hash = @hash FOR NO KEY UPDATE
        """;

    public const string LockById = """
        -- VoucherSql.LockById
        SELECT id FROM vouchers WHERE id = @id FOR NO KEY UPDATE
        """;

    /// <summary>For whom it was is known by its payment from now on.</summary>
    public const string Redeem = """
        -- VoucherSql.Redeem
        UPDATE vouchers SET redeemed = @now, payment = @payment, for_email = ''
        WHERE id = @id AND redeemed IS NULL AND withdrawn IS NULL
        """;

    public const string Withdraw = """
        -- VoucherSql.Withdraw
        UPDATE vouchers SET withdrawn = @now, for_email = '' WHERE id = @id AND redeemed IS NULL AND withdrawn IS NULL
        """;

    /// <summary>Whether there is any that this account might redeem.</summary>
    public const string AreOffered = """
        -- VoucherSql.AreOffered
        SELECT EXISTS (SELECT FROM vouchers WHERE redeemed IS NULL AND withdrawn IS NULL
            AND for_email IN ('', @email) AND (expires > @now) IS NOT FALSE)
        """;

    public const string CountTries = """
        -- VoucherSql.CountTries
        SELECT count(*) FROM voucher_tries WHERE email = @email AND at > @since
        """;

    public const string AddTry = """
        -- VoucherSql.AddTry
        INSERT INTO voucher_tries (email, at) VALUES (@email, @now)
        """;

    public const string SweepTries = """
        -- VoucherSql.SweepTries
        DELETE FROM voucher_tries WHERE email = @email AND at <= @since
        """;
}
