using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>Root starts Capsul; the Hub is unprivileged, and owns its files.</summary>
public sealed class HubUserTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment(string data)
    {
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = data,
            ["CAPSUL_HUB_USER"] = "capsul",
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
            ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
        };
        // A killed Hub leaves its database running.
        RunEnd.Do(() => EmbeddedPostgres.DiscardAsync(Settings.Load(environment), CancellationToken.None));
        return environment;
    }

    [Fact]
    public async Task One_command_starts_an_unprivileged_Hub_and_a_Spoke_as_root()
    {
        var data = TestFolder.Make("both");
        await using var both = CapsulProgram.Start(Environment(data), "up");
        await both.AwaitSaidAsync("Connected to the Hub at", Limit);
        var hub = HubOf(both);
        ShouldHaveNoRights(hub);
        (await OwnersAsync(data, ".", "spoke", "spoke.lock")).ShouldAllBe(owner => owner == 0);
        (await OwnersAsync(data, "postgres", "secret.key", "hub.lock", "backups"))
            .ShouldAllBe(owner => owner == HubUser);
        var key = Path.Combine(data, "spoke", "identity.pfx");
        var user = SystemUser.Find("capsul").ShouldNotBeNull();
        (await user.Run("cat", key).TryRunAsync(Cancel)).Error.ShouldContain("Permission denied");
        (await user.Run("touch", Path.Combine(data, "capsul.conf")).TryRunAsync(Cancel))
            .Error.ShouldContain("Permission denied");

        // Commands run by root work beside it, and leave nothing behind that the Hub could not use.
        (await CapsulProgram.RunAsync(Environment(data), Cancel, "db", "backup")).ExitCode.ShouldBe(0);
        (await OwnersAsync(data, "backup.lock", "scratch", "backups")).ShouldAllBe(owner => owner == HubUser);
        await both.SignalAsync("TERM");
        (await both.EndAsync()).ShouldBe(0, both.Said);
        File.Exists($"/proc/{hub}/status").ShouldBeFalse("the Hub is still running");
    }

    [Fact]
    public async Task The_Hub_exits_with_the_process_that_started_it()
    {
        await using var both = CapsulProgram.Start(Environment(TestFolder.Make("killed")), "up");
        await both.AwaitSaidAsync("Capsul is running at", Limit);
        var hub = HubOf(both);
        await both.KillAsync();
        await Until.TrueAsync("the Hub has ended", Limit, () => Task.FromResult(!File.Exists($"/proc/{hub}/status")));
    }

    [Theory]
    [InlineData("KILL")]
    [InlineData("TERM")] // Its standard input stays open meanwhile.
    public async Task If_the_Hub_exits_the_command_exits_with_an_error(string signal)
    {
        await using var both = CapsulProgram.Start(Environment(TestFolder.Make("ended")), "up");
        await both.AwaitSaidAsync("Capsul is running at", Limit);
        await CapsulProgram.SignalAsync(signal, HubOf(both));
        (await both.EndAsync()).ShouldBe(69);
        both.Said.ShouldContain("capsul: The Hub exited unexpectedly");
    }

    [Fact]
    public async Task A_damaged_secret_key_is_refused_with_what_to_do()
    {
        var data = TestFolder.Make("damaged");
        await File.WriteAllTextAsync(Path.Combine(data, "secret.key"), "half of a k", Cancel);
        // A database of its own: an empty one beside a key would be refused as lost.
        var environment = Environment(data);
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        environment["CAPSUL_HUB_USER"] = CapsulProgram.HubUser;
        var refused = await CapsulProgram.RunAsync(environment, Cancel, "up", "--hub");
        refused.ExitCode.ShouldBe(69);
        refused.Error.ShouldContain("secret.key is damaged: it must hold 32 bytes in base64.");
    }

    [Fact]
    public async Task Nothing_of_roots_environment_reaches_the_Hub_or_its_database()
    {
        var data = TestFolder.Make("clean");
        var environment = Environment(data);
        environment["SSH_AUTH_SOCK"] = "/run/roots-agent";
        await using var both = CapsulProgram.Start(environment, "up");
        await both.AwaitSaidAsync("Capsul is running at", Limit);
        var postmaster = int.Parse(File.ReadLines(Path.Combine(data, "postgres/data/postmaster.pid")).First());
        foreach (var pid in (int[])[HubOf(both), postmaster])
            (await File.ReadAllTextAsync($"/proc/{pid}/environ", Cancel)).ShouldNotContain("roots-agent");
    }

    [Fact]
    public async Task Root_reads_and_writes_nothing_through_links_of_the_Hubs_user()
    {
        var data = TestFolder.Make("links");
        await using (var hub = CapsulProgram.Start(Environment(data), "up", "--hub"))
        {
            await hub.AwaitSaidAsync("Capsul is running at", Limit);
            await hub.SignalAsync("TERM");
            await hub.EndAsync();
        }
        var secret = Path.Combine(TestFolder.Make("roots"), "secret");
        await File.WriteAllTextAsync(secret, "of root alone\n", Cancel);
        File.SetUnixFileMode(secret, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        foreach (var name in (string[])["postgres/password",
            "postgres/data/capsul.conf", "postgres/data/postgresql.conf"])
        {
            var link = Path.Combine(data, name);
            File.Move(link, link + ".kept");
            File.CreateSymbolicLink(link, secret);
            var refused = await CapsulProgram.RunAsync(Environment(data), Cancel, "db", "status");
            refused.ExitCode.ShouldNotBe(0, name);
            refused.Error.ShouldNotContain("of root alone");
            (await File.ReadAllTextAsync(secret, Cancel)).ShouldBe("of root alone\n", name);
            (await SystemUser.OwnersAsync([secret], Cancel)).ShouldBe([0]);
            File.Move(link + ".kept", link, overwrite: true);
        }
        (await CapsulProgram.RunAsync(Environment(data), Cancel, "db", "status")).ExitCode.ShouldBe(0);
    }

    [Fact]
    public async Task What_is_in_the_way_of_the_Hub_is_said_once()
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
            (await OwnersAsync(environment["CAPSUL_DATA"], "secret.key")).ShouldBe([0]);
            // Killed, so that PostgreSQL goes on as the user that it had.
        }
        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        ShouldHaveNoRights(hub.Id);
        (await OwnersAsync(environment["CAPSUL_DATA"], "secret.key", "postgres/data/PG_VERSION"))
            .ShouldAllBe(owner => owner == HubUser);
    }

    [Fact]
    public async Task A_program_in_a_folder_without_access_for_others_runs_too()
    {
        var closed = TestFolder.Make("closed");
        var program = Path.GetDirectoryName(CapsulProgram.File)!;
        await new Command("cp", "-r", program, Path.Combine(closed, "app")).RunAsync(Cancel);
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

    static int HubUser => SystemUser.Find("capsul").ShouldNotBeNull().Id;

    static int HubOf(CapsulProgram both) => Directory.EnumerateDirectories($"/proc/{both.Id}/task")
        .SelectMany(task => File.ReadAllText($"{task}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Select(int.Parse)
        .Single(pid => File.ReadAllText($"/proc/{pid}/cmdline").Contains("\0--hub\0", StringComparison.Ordinal));

    static void ShouldHaveNoRights(int pid)
    {
        var status = File.ReadAllLines($"/proc/{pid}/status")
            .Select(line => line.Split(':', 2)).ToDictionary(p => p[0], p => p[1].Trim(), StringComparer.Ordinal);
        var user = HubUser.ToString();
        status["Uid"].Split('\t').ShouldAllBe(id => id == user);
        status["Groups"].ShouldBe("");
        foreach (var name in (string[])["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
            status[name].ShouldBe("0000000000000000", name);
        status["NoNewPrivs"].ShouldBe("1");
    }

    static Task<IReadOnlyList<int>> OwnersAsync(string data, params string[] names) =>
        SystemUser.OwnersAsync(names.Select(name => Path.Combine(data, name)), Cancel);
}
