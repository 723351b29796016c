namespace Capsul.Hub.Features.Billing;

/// <summary>An account's balance and spending. Dollars; the sums are not rounded.</summary>
/// <param name="Paid">Payments that count.</param>
/// <param name="Used">Usage until the given time.</param>
/// <param name="DollarsPerMonth">Price of the VMs that exist now.</param>
public sealed record BalanceRow(decimal Paid, decimal Used, decimal DollarsPerMonth)
{
    public decimal Balance => Paid - Used;

    /// <summary>How many days the balance lasts at the current spending; null when nothing is spent.</summary>
    public decimal? RunwayDays => DollarsPerMonth == 0 ? null : Math.Max(0, Balance / Prices.PerDay(DollarsPerMonth));
}

public sealed record VmCostRow(string Vm, string Name, DateTime? Deleted, decimal DollarsPerMonth, decimal Used);

public static class BillingSql
{
    /// <summary>
    /// Cost until @now of the usage spans <c>u</c> that began before it: by the second, at the price copied into each
    /// span; a month is <see cref="Prices.DaysPerMonthText"/> days.
    /// </summary>
    const string Used = $"""
        coalesce(sum(extract(epoch FROM least(coalesce(upper(u.span), @now), @now) - lower(u.span))
            * u.dollars_per_month), 0) / ({Prices.DaysPerMonthText} * 86400)
        """;

    public const string Balance = $"""
        -- BillingSql.Balance
        SELECT
            (SELECT coalesce(sum(dollars), 0) FROM payments WHERE email = @email AND NOT invalidated) AS paid,
            (SELECT {Used} FROM usage_spans u WHERE u.email = @email AND lower(u.span) < @now) AS used,
            (SELECT coalesce(sum(dollars_per_month), 0) FROM vms
                WHERE email = @email AND deleted IS NULL) AS dollars_per_month
        """;

    /// <summary>
    /// Cost to date of each VM of an account whose name or ID contains @search, newest first. A page begins after
    /// (older than) the VM @after, or with the newest if that is blank.
    /// </summary>
    public const string CostOfVms = $"""
        -- BillingSql.CostOfVms
        SELECT v.id AS vm, v.name, v.deleted, v.dollars_per_month, {Used} AS used
        FROM usage_spans u JOIN vms v ON v.id = u.vm
        WHERE u.email = @email AND lower(u.span) < @now
            AND (@search = '' OR strpos(v.name, @search) > 0 OR strpos(v.id, @search) > 0)
            AND (@after = '' OR (v.created, v.id) < (SELECT created, id FROM vms WHERE id = @after AND email = @email))
        GROUP BY v.id
        ORDER BY v.created DESC, v.id DESC LIMIT @limit
        """;

    public const string CountCosts = """
        -- BillingSql.CountCosts
        SELECT count(DISTINCT u.vm) FROM usage_spans u JOIN vms v ON v.id = u.vm
        WHERE u.email = @email AND lower(u.span) < @now
            AND (@search = '' OR strpos(v.name, @search) > 0 OR strpos(v.id, @search) > 0)
        """;

    /// <summary>Cost to date of one VM.</summary>
    public const string CostOfVm = $"""
        -- BillingSql.CostOfVm
        SELECT {Used} FROM usage_spans u WHERE u.vm = @vm AND lower(u.span) < @now
        """;
}
