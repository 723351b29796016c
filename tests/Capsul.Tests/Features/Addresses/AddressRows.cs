using Capsul.Foundation;
using Capsul.Hub.Features.Addresses;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Addresses;

/// <summary>A host with six public addresses, at two dollars a month for each further one, and a VM there.</summary>
static class AddressRows
{
    public const decimal Dollars = 2;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static async Task<(VmRows Rows, string Vm)> MakeAsync()
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            DELETE FROM addresses;
            INSERT INTO addresses (host, address, mac)
            SELECT @host, '203.0.113.0'::inet + n, ('52:54:cb:00:71:0' || n)::macaddr FROM generate_series(2, 7) AS n;
            UPDATE pools SET network = '203.0.113.0/28', gateway = '203.0.113.1', first = '203.0.113.2',
                last = '203.0.113.7';
            UPDATE hosts SET gives_more_addresses = TRUE
            """, new { host = VmRows.Host }, Cancel);
        await PriceAsync(rows, Dollars, TimeSpan.Zero);
        return (rows, await rows.RunningVmAsync(Cancel));
    }

    public static Task<long> PriceAsync(VmRows rows, decimal dollars, TimeSpan ahead) => rows.Db.AskAsync<long>(
        PriceSql.Add, new { size = Prices.FurtherAddress, from = rows.Now + ahead, dollars, now = rows.Now }, Cancel);

    public static Task<Outcome<OrderAddress.Ordered>> OrderAsync(
        this VmRows rows, string vm, string? email = VmRows.Email, decimal? seen = null) =>
        OrderAddress.RunAsync(rows.Db, email ?? "cli", email, vm, seen, rows.Settings, rows.Time, Cancel);

    public static Task<Outcome<string>> ReturnAsync(
        this VmRows rows, string vm, string address, string? email = VmRows.Email) =>
        ReturnAddress.RunAsync(rows.Db, email ?? "cli", email, vm, address, rows.Time, Cancel);

    /// <summary>Charged time: of which extra, its length in hours (null: it is open), and its price.</summary>
    public static Task<IReadOnlyList<string>> SpansAsync(this VmRows rows) => rows.Db.ListAsync<string>(
        """
        SELECT concat_ws(' ', coalesce(x.kind, 'vm'),
            coalesce((extract(epoch FROM upper(s.span) - lower(s.span)) / 3600)::numeric(9,2)::text, 'open'),
            s.dollars_per_month)
        FROM usage_spans s LEFT JOIN vm_extras x ON x.id = s.extra ORDER BY s.extra NULLS FIRST, lower(s.span)
        """, null, Cancel);

    public static Task<IReadOnlyList<string>> AddressesAsync(this VmRows rows, string vm) => rows.Db.ListAsync<string>(
        "SELECT host || ' ' || host(address) || CASE WHEN extra IS NULL THEN '' ELSE ' further' END FROM addresses "
            + "WHERE vm = @vm ORDER BY host, extra NULLS FIRST, address", new { vm }, Cancel);

    public static Task<decimal> MonthlyAsync(this VmRows rows) =>
        rows.Db.AskAsync<decimal>("SELECT dollars_per_month FROM account_totals", null, Cancel);

    /// <summary>All usage is posted, and totals, ledger and spans agree.</summary>
    public static async Task AgreesAsync(this VmRows rows)
    {
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
        (await new CounterCheck(rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel)).Any
            .ShouldBeFalse();
        rows.Time.Advance(TimeSpan.FromHours(2));
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }
}
