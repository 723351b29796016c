namespace Capsul.Hub.Features.Payments;

/// <summary>Money that goes back.</summary>
/// <param name="Status">open: the provider has not answered yet. done, refused.</param>
public sealed record ProviderRefundRow(long Id, decimal Amount, string Key, string Reason, string Actor,
    DateTime Created, string Status, string? Reference, string Problem);

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
        SELECT id, amount, key, reason, actor, created, status, reference, problem FROM provider_refunds
        WHERE payment = @payment ORDER BY id
        """;

    public const string Record = """
        -- ProviderRefundSql.Record
        UPDATE provider_refunds SET status = @status, reference = @reference, problem = @problem
        WHERE id = @id AND status = 'open'
        """;
}
