using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Closings;

/// <summary>From the person's word to the end, with the rows of everything in between.</summary>
public sealed class CloseAccountTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<int> LookAsync(VmRows rows) => new ClosingSweep(rows.Db, rows.Fence, rows.Settings, rows.Time,
        NullLogger<ClosingSweep>.Instance).LookAsync(rows.Epoch, Cancel);

    static async Task CloseAsync(VmRows rows, string money = "back") => (await CloseAccount.RunAsync(rows.Db,
        rows.Settings, VmRows.Email, VmRows.Email, new CloseAccount.Input(VmRows.Email, money, "IBAN 1", null),
        rows.Time, Cancel)).OrThrow();

    static Task<Outcome<string>> ReopenAsync(VmRows rows) =>
        ReopenAccount.RunAsync(rows.Db, VmRows.Email, VmRows.Email, rows.Time, Cancel);

    /// <summary>The time in which it could be reopened is over, and its host has removed the VM.</summary>
    static async Task DeleteAsync(VmRows rows, string vm)
    {
        rows.Time.Advance(TimeSpan.FromDays(rows.Settings.ClosingDays));
        (await LookAsync(rows)).ShouldBe(1);
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Deleted.ShouldNotBeNull();
    }

    static async Task<decimal> SumAsync(VmRows rows, string type) => await rows.Db.AskAsync<decimal>(
        "SELECT coalesce(sum(e.amount), 0) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
            + "WHERE a.type = @type", new { type }, Cancel);

    /// <summary>All usage is posted, and everything agrees.</summary>
    static async Task AgreesAsync(VmRows rows)
    {
        rows.Time.Advance(TimeSpan.FromHours(2));
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task Nothing_new_while_it_is_being_closed_and_everything_after_it_is_reopened()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await CloseAsync(rows);
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain("being closed");
        (await RecordCash.RunAsync(rows.Db, "ops", VmRows.Email, 5, "", rows.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.Conflict);
        (await rows.CountAsync("sessions", "TRUE", Cancel)).ShouldBe(0);
        (await CloseAccount.RunAsync(rows.Db, rows.Settings, "ops", VmRows.Email,
            new CloseAccount.Input(null, null, null, "again"), rows.Time, Cancel)).Problem!.Message
            .ShouldContain("already");
        (await ReopenAsync(rows)).OrThrow();
        (await ReopenAsync(rows)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        rows.Time.Advance(TimeSpan.FromDays(30));
        (await LookAsync(rows)).ShouldBe(0);
        (await rows.TryNewVmAsync(Cancel)).OrThrow();
    }

    [Fact]
    public async Task Its_capsuls_are_deleted_its_money_waits_for_an_operator_and_its_name_goes()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await CloseAsync(rows);
        (await LookAsync(rows)).ShouldBe(0);
        await DeleteAsync(rows, vm);
        (await ReopenAsync(rows)).Problem!.Message.ShouldContain("over");
        (await LookAsync(rows)).ShouldBe(1);
        (await rows.Db.ListAsync<string>("SELECT email FROM accounts", null, Cancel)).ShouldBe(["closed-1"]);
        (await PersonalAsync(rows)).ShouldBe("1", "where to send the money, until it is sent");
        await AgreesAsync(rows);
        var payout = (await rows.Db.ListAsync<ClosingPayoutRow>(
            ClosingPayoutSql.ListToDo, new { after = 0, limit = 9 }, Cancel)).Single();
        (payout.Contact, payout.PayTo, payout.State).ShouldBe((VmRows.Email, "IBAN 1", "open"));
        (await SumAsync(rows, "customer")).ShouldBe(-payout.Amount, "it is owed until it is paid");
        (await PayOut.RunAsync(rows.Db, "ops", payout.Id, "bank", "transfer", rows.Time, Cancel)).OrThrow()
            .ShouldBe(payout.Amount);
        (await PayOut.RunAsync(rows.Db, "ops", payout.Id, "bank", "again", rows.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.Conflict);
        (await LookAsync(rows)).ShouldBe(1);
        (await PersonalAsync(rows)).ShouldBe("0");
        await AgreesAsync(rows);
        (await SumAsync(rows, "customer")).ShouldBe(0);
        (await SumAsync(rows, "bank")).ShouldBe(-payout.Amount);
        (await SumAsync(rows, "cash")).ShouldBe(100);
        // The same person, a new account.
        await rows.Db.ExecuteAsync(AccountSql.Create, new { email = VmRows.Email, now = rows.Now }, Cancel);
        (await rows.Db.AskAsync<BalanceRow>(BillingSql.Balance, new { email = VmRows.Email, now = rows.Now }, Cancel))
            .Paid.ShouldBe(0);
    }

    /// <summary>In how many rows of any table the address stands.</summary>
    static async Task<string> PersonalAsync(VmRows rows)
    {
        var tables = await rows.Db.ListAsync<string>(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' "
                + "AND table_type = 'BASE TABLE'", null, Cancel);
        tables.Count.ShouldBeGreaterThan(50);
        var found = new List<string>();
        foreach (var table in tables)
        {
            var count = await rows.CountAsync($"{table} AS t", $"t::text LIKE '%{VmRows.Email}%'", Cancel);
            if (count > 0) found.Add($"{table} {count}");
        }
        return found is [] ? "0" : found is ["account_closings 1"] ? "1" : string.Join(", ", found);
    }

    [Fact]
    public async Task What_is_left_goes_to_the_fund_if_the_person_wants_that()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO payments (email, dollars, method) VALUES (@email, 7, 'voucher')",
            new { email = VmRows.Email }, Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await CloseAsync(rows, "fund");
        await DeleteAsync(rows, vm);
        (await LookAsync(rows)).ShouldBe(1);
        (await LookAsync(rows)).ShouldBe(1, "nothing is to be paid");
        await AgreesAsync(rows);
        (await SumAsync(rows, "customer")).ShouldBe(0);
        (await SumAsync(rows, "solidarity_fund")).ShouldBe(-100, "what was used is the voucher's first");
        (await SumAsync(rows, "vouchers")).ShouldBe(-await SumAsync(rows, "usage_income"));
        (await PersonalAsync(rows)).ShouldBe("0");
    }

    [Fact]
    public async Task Debts_are_written_off()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        await CloseAsync(rows);
        await DeleteAsync(rows, vm);
        (await LookAsync(rows)).ShouldBe(1);
        await AgreesAsync(rows);
        (await SumAsync(rows, "customer")).ShouldBe(0);
        (await SumAsync(rows, "write_off")).ShouldBeGreaterThan(0);
    }

    /// <summary>The transaction is ended at each of its writes in turn, and the last attempt is a whole.</summary>
    [Fact]
    public async Task Killed_at_any_write_it_loses_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await CloseAsync(rows);
        await DeleteAsync(rows, vm);
        await rows.Db.ExecuteAsync(
            """
            CREATE TABLE killing (at integer NOT NULL);
            INSERT INTO killing VALUES (0);
            CREATE SEQUENCE writes;
            CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('writes') = (SELECT at FROM killing) THEN RAISE EXCEPTION 'killed'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER kill AFTER INSERT OR UPDATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER INSERT ON account_payouts FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER UPDATE ON account_closings FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER INSERT OR UPDATE ON audit_lines FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER UPDATE OR DELETE ON ssh_keys FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER UPDATE ON vms FOR EACH STATEMENT EXECUTE FUNCTION kill();
            CREATE TRIGGER kill AFTER UPDATE ON accounts FOR EACH STATEMENT EXECUTE FUNCTION kill();
            """, null, Cancel);
        var kills = 0;
        while (true)
        {
            await rows.Db.ExecuteAsync(
                "SELECT setval('writes', 1, FALSE); UPDATE killing SET at = @at", new { at = kills + 1 }, Cancel);
            if (await LookAsync(rows) == 1) break;
            kills++;
            kills.ShouldBeLessThan(100, "it must end");
            (await rows.CountAsync("account_closings", "settled IS NULL", Cancel)).ShouldBe(1);
            (await rows.CountAsync("account_payouts", "TRUE", Cancel)).ShouldBe(0);
            (await rows.CountAsync("accounts", $"email = '{VmRows.Email}'", Cancel)).ShouldBe(1);
        }
        kills.ShouldBeGreaterThan(5);
        (await rows.CountAsync("account_payouts", "state = 'open'", Cancel)).ShouldBe(1);
        await AgreesAsync(rows);
    }

    /// <summary>The clock of the Hub is four days ahead for a while, and is set right again.</summary>
    [Fact]
    public async Task A_clock_that_jumps_ahead_deletes_nothing_that_may_still_be_reopened()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await CloseAsync(rows);
        var dunning = new DunningSweep(
            rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<DunningSweep>.Instance);
        await dunning.LookAsync(rows.Epoch, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(4));
        for (var minute = 0; minute < 30; minute++, rows.Time.Advance(TimeSpan.FromMinutes(1)))
        {
            await dunning.LookAsync(rows.Epoch, Cancel);
            (await LookAsync(rows)).ShouldBe(0);
        }
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        (await ReopenAsync(rows)).OrThrow();
        await CloseAsync(rows);
        // It is due when the trusted time says so, which the Hub's clock never outruns.
        rows.Time.Advance(TimeSpan.FromDays(3));
        await rows.Db.ExecuteAsync("UPDATE dunning_clock SET trusted = @now", new { now = rows.Now }, Cancel);
        (await ReopenAsync(rows)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await LookAsync(rows)).ShouldBe(1);
    }

    [Fact]
    public async Task The_trusted_time_is_never_ahead_and_catches_up_at_twice_the_speed()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        foreach (var (clock, trusted) in new[] { (0, 0), (1, 1), (2, 2), (62, 6), (63, 8), (3, 3), (4, 4), (4, 4) })
        {
            var now = rows.Now.AddMinutes(clock);
            await rows.Db.AskAsync<DunningClockRow>(DunningSql.Tick, new { now, most = 120 }, Cancel);
            (await rows.Db.AskAsync<DateTime>(DunningSql.Trusted, new { now }, Cancel))
                .ShouldBe(rows.Now.AddMinutes(trusted), $"the clock says {clock}");
        }
    }

    [Fact]
    public async Task Receipts_keep_their_names_as_long_as_the_law_demands()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops",
            new SetSeller.Input("Meadow", "1 Lane", "", "", "", null), rows.Time, Cancel)).OrThrow();
        (await SetBillingAddress.RunAsync(rows.Db, VmRows.Email, "Ada", "London", "", Cancel)).OrThrow();
        (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, 1, rows.Time, Cancel)).OrThrow();
        await CloseAsync(rows);
        rows.Time.Advance(TimeSpan.FromDays(3));
        (await LookAsync(rows)).ShouldBe(1);
        (await rows.CountAsync("receipts", "name = 'Ada'", Cancel)).ShouldBe(1);
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "UPDATE receipts SET name = '', address = '', tax_number = ''", null, Cancel)))
            .ConstraintName.ShouldBe("receipts_stay");
        rows.Time.Advance(new DateTime(2036, 12, 31, 23, 0, 0, DateTimeKind.Utc) - rows.Now);
        (await LookAsync(rows)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromHours(2));
        (await LookAsync(rows)).ShouldBe(1);
        (await LookAsync(rows)).ShouldBe(0);
        (await rows.CountAsync("receipts", "name || address = '' AND gross = 100", Cancel)).ShouldBe(1);
    }

    [Theory]
    [InlineData("a jo@x.org b jo@x.org", "a closed-1 b closed-1")]
    [InlineData("mojo@x.org, jo@x.org.", "mojo@x.org, closed-1.")]
    [InlineData("jo@x.org.uk 'jo@x.org'", "jo@x.org.uk 'closed-1'")]
    [InlineData("joAx.org joxxorg", "joAx.org joxxorg")]
    public async Task Only_the_whole_address_is_replaced(string text, string expected)
    {
        await using var database = await TestDatabase.CreateAsync();
        (await database.Db.AskAsync<string>(
            "SELECT without_person(@text, 'jo@x.org', 'closed-1')", new { text }, Cancel)).ShouldBe(expected);
    }
}
