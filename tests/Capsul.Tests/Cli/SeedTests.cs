using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>
/// The examples of the document that Capsul is based on, "Running manual database queries", with the real program:
/// input and output, byte for byte.
/// </summary>
public sealed class SeedTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    const string SelectPayments = "SELECT id, created, email, dollars, invalidated from payments";
    const string VmsWithHeader = "SELECT string_agg(column_name::text, ', ') from information_schema.columns "
        + "WHERE table_name='vms'; SELECT * from vms";

    static async Task<string> TypeAsync(Db db, params string[] arguments) => Printed(await CapsulProgram.RunAsync(
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("seed"),
            ["CAPSUL_DATABASE"] = db.Address.ConnectionString,
        }, Cancel, arguments));

    static string Printed(CommandResult result)
    {
        result.Error.ShouldBeEmpty();
        result.ExitCode.ShouldBe(0);
        return result.Output;
    }

    static async Task<decimal> BalanceAsync(Db db) =>
        (await db.FindAsync<BalanceRow>(BillingSql.Balance, new
        {
            email = "forest.n.johnson@gmail.com",
            now = new DateTime(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc),
        }, Cancel))!.Balance;

    [Fact]
    public async Task A_payment_is_invalidated_after_a_chargeback_and_restored()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        (await TypeAsync(db, "payment", "record", "forest.n.johnson@gmail.com", "20")).ShouldStartWith("Payment 1: ");
        await db.ExecuteAsync("UPDATE payments SET created = '2020-05-05 00:00:00Z'", null, Cancel);
        (await BalanceAsync(db)).ShouldBe(20);

        (await TypeAsync(db, "sql", "-c", SelectPayments))
            .ShouldBe("1, 2020-05-05T00:00:00, forest.n.johnson@gmail.com, 20.00, FALSE\n");
        (await TypeAsync(db, "sql", "-c", "UPDATE payments SET invalidated = True WHERE id = 1"))
            .ShouldBe("1 rows affected.\n");
        (await TypeAsync(db, "sql", "-c", SelectPayments))
            .ShouldBe("1, 2020-05-05T00:00:00, forest.n.johnson@gmail.com, 20.00, TRUE\n");
        (await BalanceAsync(db)).ShouldBe(0);

        (await TypeAsync(db, "sql", "-c", "UPDATE payments SET invalidated = False WHERE id = 1"))
            .ShouldBe("1 rows affected.\n");
        (await TypeAsync(db, "sql", "-c", SelectPayments))
            .ShouldBe("1, 2020-05-05T00:00:00, forest.n.johnson@gmail.com, 20.00, FALSE\n");
        (await BalanceAsync(db)).ShouldBe(20);
    }

    [Fact]
    public async Task The_vms_are_listed_and_with_the_names_of_the_columns_before_them()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("ANALYZE vms, pg_attribute", null, Cancel);

        var vms = await TypeAsync(rows.Db, "sql", "-c", "SELECT * FROM vms");
        vms.ShouldStartWith($"{id}, {VmRows.Email}, ");
        vms.ShouldEndWith("\n");
        vms.Count(c => c == '\n').ShouldBe(1);
        var names = string.Join(", ", await rows.Db.ListAsync<string>("SELECT attname::text FROM pg_attribute "
            + "WHERE attrelid = 'vms'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum", null, Cancel));
        (await TypeAsync(rows.Db, "sql", "-c", VmsWithHeader)).ShouldBe($"{names}\n{vms}");
        (await TypeAsync(rows.Db, "sql", "--header", "-c", "SELECT * FROM vms")).ShouldBe($"{names}\n{vms}");
    }

    [Fact]
    public async Task A_file_is_run()
    {
        await using var database = await TestDatabase.CreateAsync();
        var folder = TestFolder.Make("seedfile");
        await File.WriteAllTextAsync(
            Path.Combine(folder, "test.sql"), "SELECT 1, 'a';\nSELECT 0, '', false, NULL;\n", Cancel);
        (await TypeAsync(database.Db, "sql", "-f", Path.Combine(folder, "test.sql")))
            .ShouldBe("1, a\n0, , FALSE, NULL\n");
    }
}
