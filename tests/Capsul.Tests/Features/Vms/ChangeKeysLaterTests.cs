using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;
using Npgsql;

namespace Capsul.Tests.Features.Vms;

/// <summary>Keys that a VM takes at its next start.</summary>
public sealed class ChangeKeysLaterTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<Outcome<int>> ChangeAsync(
        VmRows rows, string vm, IReadOnlyList<long>? keys, string? email = VmRows.Email) =>
        ChangeKeysLater.RunAsync(rows.Db, "test", email, vm, keys, rows.Time, Cancel);

    /// <summary>A running VM on a host that renews seeds, and the ID of a second key of its account.</summary>
    static async Task<(string Vm, long Key)> PrepareAsync(VmRows rows)
    {
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE hosts SET renews_seeds = TRUE", null, Cancel);
        return (vm, await rows.Db.FindAsync<long>(
            "INSERT INTO ssh_keys (email, name, type, key, fingerprint, created) VALUES (@email, 'second', "
                + "'ssh-ed25519', 'BBBB', 'SHA256:y', @now) RETURNING id",
            new { email = VmRows.Email, now = rows.Now }, Cancel));
    }

    [Fact]
    public async Task Refuses_in_words()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.FindAsync(await rows.RunningVmAsync(Cancel), Cancel);
        string? Say(VmRow? row, int chosen = 1, int found = 1, bool able = true) =>
            ChangeKeysLater.Decide(row, chosen, found, able)?.Message;
        Say(vm).ShouldBeNull();
        Say(vm with { State = "stopped", Observed = "off" }).ShouldBeNull("that is what it is for");
        Say(vm with { Observed = "unknown" }).ShouldBeNull("it is done when its host is back");
        ChangeKeysLater.Decide(null, 1, 1, true).ShouldBe(VmAction.NotFound);
        ChangeKeysLater.Decide(vm with { InRescue = true }, 1, 1, true).ShouldBe(RescueVm.InRescue);
        Say(vm, chosen: 0, found: 0)!.ShouldStartWith("Choose at least one SSH key");
        Say(vm, chosen: 2)!.ShouldContain("no longer exists");
        Say(vm with { Image = Protocol.AdoptedImage })!.ShouldContain("was adopted");
        Say(vm with { State = "reinstalling" })!.ShouldContain("is reinstalling");
        Say(vm, able: false)!.ShouldContain("too old to change keys at the next start");
    }

    [Fact]
    public async Task They_wait_until_the_guest_says_that_it_has_them()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, key) = await PrepareAsync(rows);
        (await ChangeAsync(rows, vm, [key], "eve@example.org")).Problem.ShouldBe(VmAction.NotFound);
        (await ChangeAsync(rows, vm, [key])).OrThrow().ShouldBe(1);
        var number = rows.Time.GetUtcNow().ToUnixTimeSeconds();
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.KeySet.ShouldBe(number), w => w.NewKeys.ShouldBe("ssh-ed25519 BBBB"),
            w => w.Keys.ShouldBe("ssh-ed25519 AAAA", "its recovery record says what it has"));
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.KeySet = number - 1);
        (await KeysAsync(rows)).ShouldBe(["AAAA"], "that was an earlier one");
        (await ChangeOf(rows, vm)).ShouldSatisfyAllConditions(
            c => c!.Done.ShouldBeNull(), c => c!.KeyNames.ShouldBe("second"));

        var before = await rows.FindAsync(vm, Cancel);
        (await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.KeySet = number)).ShouldBe(true);
        (await KeysAsync(rows)).ShouldBe(["BBBB"]);
        (await ChangeOf(rows, vm))!.Done.ShouldBe(rows.Now);
        (await rows.FindAsync(vm, Cancel)).WantedGeneration.ShouldBe(before.WantedGeneration + 1);
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.KeySet.ShouldBe(number, "its seed stays as it is"), w => w.NewKeys.ShouldBeNull(),
            w => w.Keys.ShouldBe("ssh-ed25519 BBBB"));
        var first = await rows.Db.FindAsync<long>("SELECT min(id) FROM ssh_keys", null, Cancel);
        (await ChangeAsync(rows, vm, [first])).OrThrow();
        (await ChangeOf(rows, vm))!.Number.ShouldBe(number + 1);
    }

    [Fact]
    public async Task Other_keys_replace_those_that_wait_and_a_reinstall_withdraws_them()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, key) = await PrepareAsync(rows);
        (await ChangeAsync(rows, vm, [key])).OrThrow();
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        (await ChangeAsync(rows, vm, null, email: null)).OrThrow().ShouldBe(2, "all of the account");
        (await rows.CountAsync("key_changes", "TRUE", Cancel)).ShouldBe(1);
        (await ChangeOf(rows, vm))!.KeyNames.ShouldBe("k\nsecond");

        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.KeySet.ShouldBeNull("a new disk has its keys from the start"),
            w => w.NewKeys.ShouldBe("ssh-ed25519 AAAA"));
        await rows.CarryReinstallAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        (await rows.CountAsync("key_changes", "TRUE", Cancel)).ShouldBe(0);
        (await KeysAsync(rows)).ShouldBe(["AAAA"]);
        (await ChangeAsync(rows, vm, [key])).OrThrow();
        var row = await rows.FindAsync(vm, Cancel);
        (await ChangeOf(rows, vm))!.Number.ShouldBeGreaterThan(row.Disk, "it is of the new disk");
    }

    [Fact]
    public async Task The_database_itself_refuses_two_that_wait()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, key) = await PrepareAsync(rows);
        (await ChangeAsync(rows, vm, [key])).OrThrow();
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "INSERT INTO key_changes SELECT vm, number + 1, asked, keys, key_names FROM key_changes", null, Cancel)))
            .ConstraintName.ShouldBe("key_changes_one_waits");
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(long.MaxValue)]
    public void A_number_that_is_out_of_range_ends_the_connection(long number) =>
        Should.Throw<RpcException>(() => Intake.Check(new VmReport { Id = "capsul-0123456789", KeySet = number }))
            .Status.Detail.ShouldContain("out of range");

    static Task<KeyChangeRow?> ChangeOf(VmRows rows, string vm) =>
        rows.Db.FindAsync<KeyChangeRow>(KeyChangeSql.Newest, new { vm }, Cancel);

    static Task<IReadOnlyList<string>> KeysAsync(VmRows rows) =>
        rows.Db.ListAsync<string>("SELECT key FROM vm_ssh_keys ORDER BY key", null, Cancel);

    static async Task<WantedRow> WantedAsync(VmRows rows, string vm) => (await rows.Db.ListAsync<WantedRow>(
        HostSql.Wanted, new { host = VmRows.Host, since = -1L }, Cancel)).Single(w => w.Id == vm);
}
