using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>
/// What <c>capsul doctor</c> says of mail, of the way to the pages, and of a machine that is only a host.
/// </summary>
public sealed class DoctorTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment() => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("doctor"),
        ["CAPSUL_HYPERVISOR"] = "simulated",
        ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
    };

    static async Task<CommandResult> DoctorAsync(
        Dictionary<string, string> environment, params (string Name, string Value)[] changes)
    {
        var all = new Dictionary<string, string>(environment, StringComparer.Ordinal);
        foreach (var (name, value) in changes) all[name] = value;
        return await CapsulProgram.RunAsync(all, Cancel, "doctor");
    }

    [Fact]
    public async Task It_knows_whether_mail_can_leave()
    {
        var environment = Environment();
        var unset = await DoctorAsync(environment);
        unset.ExitCode.ShouldBe(0, unset.Output);
        unset.Output.ShouldContain("warn  mail         CAPSUL_SMTP_HOST is not set");
        unset.Output.ShouldContain("CAPSUL_SUPPORT_EMAIL is support@localhost");
        await using var sink = new SmtpSink();
        (string, string)[] server = [("CAPSUL_SMTP_HOST", "127.0.0.1"),
            ("CAPSUL_SMTP_PORT", sink.Port.ToString()), ("CAPSUL_SMTP_TLS", "none")];
        (await DoctorAsync(environment, server))
            .Output.ShouldContain($"ok    mail         127.0.0.1:{sink.Port} accepts connections");
        var closed = await DoctorAsync(environment, [.. server, ("CAPSUL_SMTP_PORT", Ports.TakeFree().ToString())]);
        closed.ExitCode.ShouldBe(1);
        closed.Output.ShouldContain("fail  mail         127.0.0.1:");
    }

    [Fact]
    public async Task It_looks_at_the_pages_as_people_reach_them()
    {
        var environment = Environment();
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        (await DoctorAsync(environment)).Output.ShouldContain("warn  base URL     CAPSUL_BASE_URL is not set");
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", "http://cloud.example.org")))
            .Output.ShouldContain("fail  base URL");
        var url = $"http://127.0.0.1:{environment["CAPSUL_PORT"]}";
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", url)))
            .Output.ShouldContain("warn  base URL     no Hub answers at");
        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("Capsul answers at", Limit);
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", url)))
            .Output.ShouldContain("ok    base URL     the Hub answers at");
    }

    [Fact]
    public async Task On_a_machine_that_is_only_a_host_it_asks_the_Hub_and_wants_no_database()
    {
        await using var link = await LinkHub.StartAsync();
        var environment = Environment();
        await link.JoinAsync("rack1", environment["CAPSUL_DATA"]);
        var fine = await DoctorAsync(environment);
        fine.ExitCode.ShouldBe(0, fine.Output);
        fine.Output.ShouldContain("ok    spoke        host rack1 of the Hub at 127.0.0.1:");
        fine.Output.ShouldContain("; the Hub answers");
        fine.Output.ShouldNotContain("database");
        await link.Hub.DisposeAsync();
        var alone = await DoctorAsync(environment);
        alone.ExitCode.ShouldBe(1);
        alone.Output.ShouldContain("fail  spoke        host rack1");
    }
}
