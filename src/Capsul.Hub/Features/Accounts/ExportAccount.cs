using System.Data;
using System.Text;
using Capsul.Postgres;
using Dapper;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// Writes all that is kept of a person as one JSON document, as it is at one moment: an array of rows for each kind.
/// Rows are written as they are read.
/// </summary>
public static class ExportAccount
{
    const int TimeoutSeconds = 60;

    static readonly (string Name, string Sql)[] Parts =
    [
        ("account", ExportAccountSql.Account), ("sessions", ExportAccountSql.Sessions),
        ("sign_in_links", ExportAccountSql.SignInLinks), ("ssh_keys", ExportAccountSql.SshKeys),
        ("capsuls", ExportAccountSql.Vms), ("firewall_rules", ExportAccountSql.FirewallRules),
        ("ports", ExportAccountSql.Ports), ("names", ExportAccountSql.Sites),
        ("reverse_names", ExportAccountSql.ReverseNames), ("rescues", ExportAccountSql.Rescues),
        ("traffic", ExportAccountSql.Traffic), ("usage", ExportAccountSql.Usage),
        ("payments", ExportAccountSql.Payments), ("vouchers", ExportAccountSql.Vouchers),
        ("closings", ExportAccountSql.Closings), ("voucher_tries", ExportAccountSql.VoucherTries),
        ("payouts", ExportAccountSql.Payouts), ("friend_links", ExportAccountSql.FriendLinks),
        ("sponsorships", ExportAccountSql.Sponsorships), ("trial_credit", ExportAccountSql.Trials),
        ("price_levels", ExportAccountSql.PriceLevels), ("billing_address", ExportAccountSql.BillingAddress),
        ("receipts", ExportAccountSql.Receipts),
        ("provider_payments", ExportAccountSql.ProviderPayments), ("refunds", ExportAccountSql.Refunds),
        ("saved_cards", ExportAccountSql.SavedCards), ("automatic_top_up", ExportAccountSql.AutoTopUps),
        ("spending_limits", ExportAccountSql.SpendingLimits),
        ("transfers", ExportAccountSql.Transfers), ("transfer_code", ExportAccountSql.Reference),
        ("ledger", ExportAccountSql.Ledger), ("operations", ExportAccountSql.Operations),
        ("dunning", ExportAccountSql.Dunning), ("dunning_holds", ExportAccountSql.DunningHolds),
        ("emails", ExportAccountSql.Emails), ("audit_lines", ExportAccountSql.AuditLines),
    ];

    public static async Task RunAsync(Db db, string email, Stream output, CancellationToken cancel)
    {
        await using var connection = await db.OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, cancel);
        await using var writer = new StreamWriter(output, new UTF8Encoding(false), leaveOpen: true);
        await writer.WriteAsync("{");
        var first = true;
        foreach (var (name, sql) in Parts)
        {
            await writer.WriteAsync($"{(first ? "" : ",")}\n\"{name}\": [");
            first = false;
            var separator = "\n";
            await foreach (var row in connection.QueryUnbufferedAsync<string>(
                sql, new { email }, transaction, TimeoutSeconds).WithCancellation(cancel))
            {
                await writer.WriteAsync(separator);
                await writer.WriteAsync(row.AsMemory(), cancel);
                separator = ",\n";
            }
            await writer.WriteAsync("]");
        }
        await writer.WriteAsync("\n}\n");
        await writer.FlushAsync(cancel);
    }
}
