namespace Capsul.Hub.Features.Payments;

/// <summary>Money that goes back.</summary>
/// <param name="Status">
/// open: the provider has not answered yet. offered: whoever paid can claim it at the provider. pending: the provider
/// has it, and does not know yet whether it goes through. done: no more will be sent. refused, which may also be known
/// only after it was done.
/// </param>
/// <param name="Sent">What has gone back.</param>
/// <param name="Claimed">Waits to be paid, at the provider.</param>
/// <param name="Moving">Is on its way.</param>
/// <param name="Url">Where it is claimed, while it is offered.</param>
/// <param name="Withdrawn">Since when an operator wants it to be claimed no longer.</param>
public sealed record ProviderRefundRow(long Id, decimal Amount, string Key, string Reason, string Actor,
    DateTime Created, string Status, string? Reference, string Problem, decimal Sent, decimal Claimed, decimal Moving,
    string Url, DateTime? Withdrawn)
{
    public bool IsOffered => Status == "offered";

    /// <summary>What may still go back, and is not spendable meanwhile.</summary>
    public decimal Going => Status is "open" or "offered" ? Amount - Sent : 0;

    /// <summary>The provider is asked about it.</summary>
    /// <param name="mayFail">What was sent may come back.</param>
    public bool IsWatched(bool mayFail, DateTime now) => Going > 0 || Status == "pending"
        || (mayFail && Status == "done" && now - Created < RefundPayment.FailsFor);

    /// <summary>Until when it can be claimed.</summary>
    public DateTime Ends => Created + RefundPayment.ClaimFor;
}

/// <summary>A refund and whose payment it is of.</summary>
/// <param name="Payment">Number of the payment through a provider.</param>
public sealed record FoundRefundRow(long Payment, string Status, DateTime? Withdrawn);

/// <summary>Statements over <c>provider_refunds</c>.</summary>
public static class ProviderRefundSql
{
    public const string Add = """
        -- ProviderRefundSql.Add
        INSERT INTO provider_refunds (payment, amount, key, reason, actor, created)
        VALUES (@payment, @amount, @key, @reason, @actor, @now) RETURNING id
        """;

    public const string OfPayment = """
        -- ProviderRefundSql.OfPayment
        SELECT id, amount, key, reason, actor, created, status, reference, problem, sent, claimed, moving, url,
            withdrawn
        FROM provider_refunds WHERE payment = @payment ORDER BY id
        """;

    public const string Record = """
        -- ProviderRefundSql.Record
        UPDATE provider_refunds SET status = @status, reference = coalesce(@reference, reference), problem = @problem,
            sent = @sent, claimed = @claimed, moving = @moving, url = @url
        WHERE id = @id AND (status IN ('open', 'offered', 'pending') OR status = 'done' AND @status = 'refused')
        """;

    public const string Known = """
        -- ProviderRefundSql.Known
        SELECT key FROM provider_refunds WHERE key = ANY(@keys)
        """;

    public const string Find = """
        -- ProviderRefundSql.Find
        SELECT payment, status, withdrawn FROM provider_refunds WHERE id = @id
        """;

    public const string Withdraw = """
        -- ProviderRefundSql.Withdraw
        UPDATE provider_refunds SET withdrawn = @now WHERE id = @id AND status = 'offered' AND withdrawn IS NULL
        """;
}
