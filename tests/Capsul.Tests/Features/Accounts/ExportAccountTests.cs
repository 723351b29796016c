using System.Text.Json;
using Capsul.Hub.Features.Accounts;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Accounts;

public sealed class ExportAccountTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_person_downloads_all_that_is_kept_of_them_and_nothing_of_others()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES ('other@example.org');
            INSERT INTO payments (email, dollars, method, note) VALUES ('other@example.org', 5, 'cash', 'the other');
            INSERT INTO audit_lines (actor, action, subject) VALUES ('other@example.org', 'x', 'the other');
            """, null, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var response = await visitor.PostAsync("/account", "/account?handler=Export", Cancel);
        response.Content.Headers.ContentDisposition!.FileName.ShouldBe("capsul-account-2026-03-01.json");
        var text = await response.Content.ReadAsStringAsync(Cancel);
        text.ShouldNotContain("other");
        var data = JsonDocument.Parse(text).RootElement;
        data.GetProperty("account")[0].GetProperty("email").GetString().ShouldBe(Sample.Email);
        data.GetProperty("capsuls").GetArrayLength().ShouldBe(5);
        data.GetProperty("payments").GetArrayLength().ShouldBe(3);
        data.GetProperty("ssh_keys").GetArrayLength().ShouldBe(2);
        foreach (var part in (string[])["sessions", "sign_in_links", "usage", "operations", "emails"])
            data.GetProperty(part).GetArrayLength().ShouldBeGreaterThan(0, part);
        (text.Contains("_hash", StringComparison.Ordinal) || text.Contains("secret", StringComparison.Ordinal))
            .ShouldBeFalse("no secret is in it");
    }

    /// <summary>A new table that knows people must be in the export, or be named here with a reason.</summary>
    [Fact]
    public async Task Every_table_that_knows_an_account_is_exported()
    {
        await using var database = await TestDatabase.CreateAsync();
        var tables = await database.Db.ListAsync<string>(
            """
            SELECT DISTINCT table_name::text FROM information_schema.columns
            WHERE table_schema = 'public' AND column_name IN ('email', 'recipient', 'actor')
            """, null, Cancel);
        string[] others =
        [
            "account_totals", "vm_totals", // Sums of usage and payments.
            "ledger_accounts", // Its entries are exported.
            "console_tokens", // A minute old at most.
            // Of nobody; who booked or said it is in the log, which is exported.
            "provider_payouts", "receipt_gaps",
        ];
        var exported = typeof(ExportAccountSql).GetFields().Select(f => (string)f.GetRawConstantValue()!).ToList();
        tables.Except(others, StringComparer.Ordinal)
            .Where(t => !exported.Exists(sql => sql.Contains($"FROM {t}", StringComparison.Ordinal)
                || sql.Contains($"JOIN {t}", StringComparison.Ordinal))).ShouldBeEmpty();
    }

    [Fact]
    public async Task Signing_out_everywhere_ends_every_session()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var laptop = await hub.SignInAsync(Sample.Email, Cancel);
        using var phone = await hub.SignInAsync(Sample.Email, Cancel);
        (await laptop.ReadAsync("/account", Cancel)).ShouldContain("2 browsers");
        await phone.PostAsync("/account", "/account?handler=SignOut", Cancel);
        (await laptop.ReadAsync("/account", Cancel)).ShouldContain("<h1>Sign in</h1>");
    }
}
