using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>Root starts Capsul; the Hub is unprivileged, and owns its files.</summary>
public sealed class HubUserTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment(string data) => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = data,
        ["CAPSUL_HUB_USER"] = "capsul",
        ["CAPSUL_HYPERVISOR"] = "simulated",
        ["CAPSUL_POSTGRES_FSYNC"] = "off",
        ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
    };

    [Fact]
    public async Task One_command_starts_an_unprivileged_Hub_and_a_Spoke_as_root()
    {
        var data = TestFolder.Make("both");
        await using var both = CapsulProgram.Start(Environment(data), "up");
        await both.AwaitSaidAsync("Connected to the Hub at", Limit);
        var hub = await HubOfAsync(both);
        ShouldHaveNoRights(hub);
        (await OwnersAsync(data, ".", "spoke", "spoke.lock")).ShouldAllBe(owner => owner == "root");
        (await OwnersAsync(data, "postgres", "secret.key", "hub.lock", "backups"))
            .ShouldAllBe(owner => owner == "capsul");
        var key = Path.Combine(data, "spoke", "identity.pfx");
        var user = SystemUser.Find("capsul").ShouldNotBeNull();
        (await user.Run("cat", key).TryRunAsync(Cancel)).Error.ShouldContain("Permission denied");
        (await user.Run("touch", Path.Combine(data, "capsul.conf")).TryRunAsync(Cancel))
            .Error.ShouldContain("Permission denied");

        // Commands run by root work beside it, and leave nothing behind that the Hub could not use.
        (await CapsulProgram.RunAsync(Environment(data), Cancel, "db", "backup")).ExitCode.ShouldBe(0);
        (await OwnersAsync(data, "backup.lock", "scratch", "backups")).ShouldAllBe(owner => owner == "capsul");
        await both.SignalAsync("TERM");
        (await both.EndAsync()).ShouldBe(0, both.Said);
        File.Exists($"/proc/{hub}/status").ShouldBeFalse("the Hub is still running");
    }

    [Fact]
    public async Task The_Hub_exits_with_the_process_that_started_it()
    {
        await using var both = CapsulProgram.Start(Environment(TestFolder.Make("killed")), "up");
        await both.AwaitSaidAsync("Capsul is running at", Limit);
        var hub = await HubOfAsync(both);
        await both.KillAsync();
        await Until.TrueAsync("the Hub has ended", Limit, () => Task.FromResult(!File.Exists($"/proc/{hub}/status")));
    }

    [Fact]
    public async Task If_the_Hub_exits_the_command_exits_with_an_error()
    {
        await using var both = CapsulProgram.Start(Environment(TestFolder.Make("ended")), "up");
        await both.AwaitSaidAsync("Capsul is running at", Limit);
        await CapsulProgram.SignalAsync("KILL", await HubOfAsync(both));
        (await both.EndAsync()).ShouldBe(69);
        both.Said.ShouldContain("capsul: The Hub exited unexpectedly");
    }

    [Fact]
    public async Task The_Hubs_startup_error_is_printed_once()
    {
        var environment = Environment(TestFolder.Make("refused"));
        await using var first = CapsulProgram.Start(environment, "up", "--hub");
        await first.AwaitSaidAsync("Capsul is running at", Limit);
        ShouldHaveNoRights(first.Id);
        var second = await CapsulProgram.RunAsync(environment, Cancel, "up");
        second.ExitCode.ShouldNotBe(0);
        second.Error.Split("is already running on the data folder").Length.ShouldBe(2, second.Error);
        second.Output.ShouldBe("");
    }

    [Fact]
    public async Task An_existing_data_folder_is_handed_over_with_its_database()
    {
        var environment = Environment(TestFolder.Make("before"));
        var before =
            new Dictionary<string, string>(environment, StringComparer.Ordinal) { ["CAPSUL_HUB_USER"] = "root" };
        await using (var old = CapsulProgram.Start(before, "up", "--hub"))
        {
            await old.AwaitSaidAsync("active Hub (epoch 1)", Limit);
            (await OwnersAsync(environment["CAPSUL_DATA"], "secret.key")).ShouldBe(["root"]);
            // Killed, so that PostgreSQL keeps running as its previous user.
        }
        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        ShouldHaveNoRights(hub.Id);
        (await OwnersAsync(environment["CAPSUL_DATA"], "secret.key", "postgres/data/PG_VERSION"))
            .ShouldAllBe(owner => owner == "capsul");
    }

    [Fact]
    public async Task A_program_in_a_folder_without_access_for_others_runs_too()
    {
        var closed = TestFolder.Make("closed");
        await new Command("cp", "-r", AppContext.BaseDirectory, Path.Combine(closed, "app")).RunAsync(Cancel);
        File.SetUnixFileMode(closed, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        await using var hub = CapsulProgram.StartFile(
            Path.Combine(closed, "app", "capsul"), Environment(TestFolder.Make("closed-data")), "up", "--hub");
        await hub.AwaitSaidAsync("Capsul is running at", Limit);
        ShouldHaveNoRights(hub.Id);
    }

    [Fact]
    public async Task A_backup_folder_that_the_Hub_cannot_write_to_is_refused_at_start()
    {
        var environment = Environment(TestFolder.Make("backups"));
        environment["CAPSUL_BACKUP_FOLDER"] = TestFolder.Make("roots");
        var refused = await CapsulProgram.RunAsync(environment, Cancel, "up", "--hub");
        refused.ExitCode.ShouldBe(69);
        refused.Error.ShouldContain($"user capsul, who cannot write to {environment["CAPSUL_BACKUP_FOLDER"]}");
    }

    static async Task<int> HubOfAsync(CapsulProgram both)
    {
        var children =
            await new Command("pgrep", "--parent", both.Id.ToString(), "--full", "up --hub").RunAsync(Cancel);
        return int.Parse(children.Output.Trim());
    }

    static void ShouldHaveNoRights(int pid)
    {
        var status = File.ReadAllLines($"/proc/{pid}/status")
            .Select(line => line.Split(':', 2)).ToDictionary(p => p[0], p => p[1].Trim(), StringComparer.Ordinal);
        var user = SystemUser.Find("capsul")!.Id.ToString();
        status["Uid"].Split('\t').ShouldAllBe(id => id == user);
        status["Groups"].ShouldBe("");
        foreach (var name in (string[])["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
            status[name].ShouldBe("0000000000000000", name);
        status["NoNewPrivs"].ShouldBe("1");
    }

    static Task<IReadOnlyList<string>> OwnersAsync(string data, params string[] names) =>
        SystemUser.OwnersAsync(names.Select(name => Path.Combine(data, name)), Cancel);
}
