using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary><c>capsul doctor</c> on email, on access to the pages, and on a machine that is only a host.</summary>
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
    public async Task It_checks_whether_email_can_be_sent()
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
    public async Task It_checks_the_pages_at_their_public_address()
    {
        var environment = Environment();
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        (await DoctorAsync(environment)).Output.ShouldContain("warn  base URL     CAPSUL_BASE_URL is not set");
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", "http://cloud.example.org")))
            .Output.ShouldContain("fail  base URL");
        var url = $"http://127.0.0.1:{environment["CAPSUL_PORT"]}";
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", url)))
            .Output.ShouldContain("warn  base URL     no Hub responds at");
        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("Capsul is running at", Limit);
        (await DoctorAsync(environment, ("CAPSUL_BASE_URL", url)))
            .Output.ShouldContain("ok    base URL     the Hub responds at");
    }

    [Fact]
    public async Task On_a_host_without_a_Hub_it_checks_the_connection_to_the_Hub_and_no_database()
    {
        await using var link = await LinkHub.StartAsync();
        var environment = Environment();
        await link.JoinAsync("rack1", environment["CAPSUL_DATA"]);
        var fine = await DoctorAsync(environment);
        fine.ExitCode.ShouldBe(0, fine.Output);
        fine.Output.ShouldContain("ok    spoke        host rack1 of the Hub at 127.0.0.1:");
        fine.Output.ShouldContain("; the Hub responds");
        fine.Output.ShouldNotContain("database");
        await link.Hub.DisposeAsync();
        var alone = await DoctorAsync(environment);
        alone.ExitCode.ShouldBe(1);
        alone.Output.ShouldContain("fail  spoke        host rack1");
    }
}
