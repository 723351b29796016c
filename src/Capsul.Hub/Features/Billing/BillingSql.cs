namespace Capsul.Hub.Features.Billing;

/// <summary>
/// Statements over <c>usage_spans</c> and what follows from them. A month is 30.44 days, so 2 630 016 seconds. Sums are exact: the
/// one division comes last, and its result is cut at ten places, far below what anybody sees.
/// </summary>
public static class BillingSql
{
    /// <summary>What an account has, and what it spends a month with the spans that are open.</summary>
    public const string Balance = """
        -- BillingSql.Balance
        SELECT COALESCE((SELECT sum(dollars) FROM payments WHERE email = @email AND NOT invalidated), 0) AS paid,
               round(COALESCE(sum(dollars_per_month * EXTRACT(EPOCH FROM
                   GREATEST(LEAST(COALESCE(upper(span), @now), @now), lower(span)) - lower(span))), 0) / 2630016, 10) AS used,
               COALESCE(sum(dollars_per_month) FILTER (WHERE COALESCE(upper(span), 'infinity') > @now), 0) AS dollars_per_month
        FROM usage_spans WHERE email = @email
        """;

    public sealed record VmCost(string Vm, string Name, string State, DateTime? Deleted, decimal DollarsPerMonth, decimal Used);

    /// <summary>What each VM of an account has cost so far, the running ones first.</summary>
    public const string CostOfVms = """
        -- BillingSql.CostOfVms
        SELECT vms.id AS vm, vms.name, vms.state, vms.deleted, vms.dollars_per_month,
               round(sum(usage_spans.dollars_per_month * EXTRACT(EPOCH FROM
                   GREATEST(LEAST(COALESCE(upper(span), @now), @now), lower(span)) - lower(span))) / 2630016, 10) AS used
        FROM usage_spans JOIN vms ON vms.id = usage_spans.vm
        WHERE usage_spans.email = @email
        GROUP BY vms.id
        ORDER BY vms.deleted DESC NULLS FIRST, vms.created DESC, vms.id
        LIMIT 200
        """;

    /// <summary>What one VM has cost so far.</summary>
    public const string CostOfVm = """
        -- BillingSql.CostOfVm
        SELECT round(COALESCE(sum(dollars_per_month * EXTRACT(EPOCH FROM
                   GREATEST(LEAST(COALESCE(upper(span), @now), @now), lower(span)) - lower(span))), 0) / 2630016, 10)
        FROM usage_spans WHERE vm = @vm
        """;
}
