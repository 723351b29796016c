using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Tests.Cli;

/// <summary>
/// The built program when something goes wrong: one clear sentence, an exit code, and no stack trace.
/// </summary>
public sealed class BadDaysTests
{
    readonly Dictionary<string, string> environment = new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("badday"),
        ["CAPSUL_HYPERVISOR"] = "simulated",
        ["CAPSUL_PORT"] = "0",
        ["CAPSUL_LINK_PORT"] = "0",
    };

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    string Data => environment["CAPSUL_DATA"];

    /// <summary>Runs it and returns its one sentence.</summary>
    async Task<string> RefusalAsync(int exitCode, params string[] arguments)
    {
        var result = await CapsulProgram.RunAsync(environment, Cancel, arguments);
        // A Hub's output also contains log lines, which begin with the time of day.
        var lines = result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(l => l[0] == 'c' || !char.IsAsciiDigit(l[0])).ToList();
        lines.Count.ShouldBe(1, result.Error + result.Output);
        lines[0].ShouldStartWith("capsul: ");
        lines[0].ShouldNotContain("Exception");
        lines[0].ShouldMatch(@"[.!?]$|--help$");
        result.ExitCode.ShouldBe(exitCode);
        return lines[0];
    }

    [Theory]
    [InlineData("capsul --help", "'frobnicate'", "frobnicate")]
    [InlineData("capsul up --help", "'--nonsense'", "up", "--nonsense")]
    [InlineData("capsul up --help", "'abc'", "up", "--port", "abc")]
    [InlineData("capsul spoke join --help", "TOKEN", "spoke", "join")]
    [InlineData("capsul host --help", "command", "host")]
    public async Task An_unknown_word_is_named_and_help_is_offered(
        string help, string names, params string[] arguments)
    {
        var says = await RefusalAsync(64, arguments);
        says.ShouldContain(names);
        says.ShouldEndWith($"See: {help}");
        says.ShouldNotContain("System.");
    }

    [Fact]
    public async Task Without_arguments_help_is_shown()
    {
        var result = await CapsulProgram.RunAsync(environment, Cancel);
        result.ExitCode.ShouldNotBe(0);
        result.Output.ShouldContain("capsul demo");
    }

    [Fact]
    public async Task An_unknown_setting_is_reported_as_a_typo()
    {
        environment["CAPSUL_PROT"] = "1";
        (await RefusalAsync(64, "up", "--hub")).ShouldContain("Did you mean CAPSUL_PORT?");
    }

    [Theory]
    [InlineData("CAPSUL_PORT", "eighty")]
    [InlineData("CAPSUL_LISTEN", "here")]
    [InlineData("CAPSUL_VM_NETWORK", "10.0.0.0/8")]
    [InlineData("CAPSUL_RELAY_PORTS", "5-4")]
    [InlineData("CAPSUL_HYPERVISOR", "xen")]
    [InlineData("CAPSUL_DATABASE", "somewhere")]
    [InlineData("CAPSUL_SECRET_KEY", "secret")]
    [InlineData("CAPSUL_BASE_URL", "capsul.example")]
    public async Task An_invalid_value_is_named_with_what_is_allowed(string name, string value)
    {
        environment[name] = value;
        (await RefusalAsync(64, "up", "--hub")).ShouldContain(name);
    }

    [Fact]
    public async Task An_invalid_line_of_the_configuration_file_is_named()
    {
        await File.WriteAllTextAsync(Path.Combine(Data, "capsul.conf"), "# fine\nCAPSUL_MAX_VMS 3\n", Cancel);
        (await RefusalAsync(64, "up", "--hub")).ShouldContain("line 2");
    }

    [Theory]
    [InlineData("CAPSUL_PORT")]
    [InlineData("CAPSUL_LINK_PORT")]
    public async Task A_port_in_use_is_named(string setting)
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        environment[setting] = ((IPEndPoint)taken.LocalEndpoint).Port.ToString();
        (await RefusalAsync(73, "up", "--hub")).ShouldContain($"{setting}={environment[setting]}");
    }

    [Fact]
    public async Task An_address_of_another_machine_is_named()
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        environment["CAPSUL_LISTEN"] = "203.0.113.7";
        (await RefusalAsync(69, "up", "--hub")).ShouldContain("CAPSUL_LISTEN=203.0.113.7");
    }

    [Theory]
    [InlineData("up", "--hub")]
    [InlineData("host", "list")]
    [InlineData("payment", "record", "jo@example.org", "20")]
    public async Task An_unreachable_database_is_named(params string[] arguments)
    {
        var port = Ports.TakeFree();
        environment["CAPSUL_DATABASE"] = $"Host=127.0.0.1;Port={port};Username=me;Password=hush;Database=clouds";
        var says = await RefusalAsync(69, arguments);
        says.ShouldContain($"127.0.0.1:{port}, database clouds");
        says.ShouldNotContain("hush");
    }

    [Fact]
    public async Task A_wrong_password_is_reported()
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] =
            new NpgsqlConnectionStringBuilder(database.ConnectionString) { Password = "wrong-one" }.ConnectionString;
        var says = await RefusalAsync(69, "up", "--hub");
        says.ShouldContain("rejected the user or password");
        says.ShouldNotContain("wrong-one");
    }

    [Theory]
    [InlineData("up", "--hub")]
    [InlineData("payment", "record", "jo@example.org", "20")]
    public async Task A_database_newer_than_the_program_is_not_changed(params string[] arguments)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = version + 1", null, Cancel);
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        (await RefusalAsync(73, arguments)).ShouldContain($"schema version {Migrator.DesiredVersion + 1}");
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel))
            .ShouldBe(Migrator.DesiredVersion + 1);
    }

    [Theory]
    [InlineData("a file", "/file")]
    [InlineData("below a file", "/file/data")]
    [InlineData("not writable, for nobody", "/../../../proc/capsul")]
    public async Task An_unwritable_data_folder_is_named(string kind, string path)
    {
        kind.ShouldNotBeEmpty();
        await File.WriteAllTextAsync(Path.Combine(Data, "file"), "", Cancel);
        environment["CAPSUL_DATA"] = Path.GetFullPath(Data + path);
        (await RefusalAsync(69, "up", "--hub")).ShouldContain(environment["CAPSUL_DATA"]);
    }

    [Fact]
    public async Task A_data_folder_that_the_user_of_roots_database_cannot_reach_is_explained()
    {
        File.SetUnixFileMode(Data, (UnixFileMode)0b111_000_000);
        environment["CAPSUL_DATA"] = Path.Combine(Data, "below");
        (await RefusalAsync(69, "up", "--hub")).ShouldContain("a parent folder is not accessible to others");
    }

    [Fact]
    public async Task A_missing_hypervisor_is_named()
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        environment["CAPSUL_HYPERVISOR"] = "libvirt";
        environment["CAPSUL_LIBVIRT"] = "qemu+unix:///system?socket=/nowhere/libvirt-sock";
        environment["CAPSUL_KVM"] = "off";
        (await RefusalAsync(69, "up")).ShouldContain("/nowhere/libvirt-sock");
    }

    [Theory]
    [InlineData("rack 1", "127.0.0.1:8443", "A host's name")]
    [InlineData("rack1", "hub.example.org", "CAPSUL_LINK_ADDRESS")]
    [InlineData("rack1", "https://hub.example.org:8443/x", "CAPSUL_LINK_ADDRESS")]
    public async Task An_invitation_with_an_unusable_address_is_refused(string host, string address, string names)
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        environment["CAPSUL_LINK_ADDRESS"] = address;
        (await RefusalAsync(64, "host", "invite", host)).ShouldContain(names);
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM hosts", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task A_token_is_refused_when_it_was_used_or_another_hub_responds()
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        environment["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString();
        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("Capsul is running at", TimeSpan.FromSeconds(30));
        var token = (await CapsulProgram.RunAsync(environment, Cancel, "host", "invite", "rack1")).Output.Trim();
        var forged = JoinToken.Parse(token)! with { Fingerprint = new string('f', 64) };
        (await RefusalAsync(77, "spoke", "join", forged.ToString()))
            .ShouldContain("is not the Hub that created this token");
        (await CapsulProgram.RunAsync(environment, Cancel, "spoke", "join", token))
            .Output.ShouldContain("as host rack1");
        (await RefusalAsync(77, "spoke", "join", token)).ShouldContain("unknown, expired or already used");
        await hub.SignalAsync("TERM");
        (await hub.EndAsync()).ShouldBe(0);
    }

    [Fact]
    public async Task A_spoke_that_has_not_joined_explains_how_to() =>
        (await RefusalAsync(64, "up", "--spoke")).ShouldContain("capsul spoke join TOKEN");

    [Theory]
    [InlineData("garbage")]
    [InlineData("capsul-join.!!!.0000000000000000000000000000000000000000000000000000000000000000.x")]
    [InlineData("capsul-join.AAAA.00.x")]
    public async Task Garbage_is_not_a_join_token(string token) =>
        (await RefusalAsync(64, "spoke", "join", token)).ShouldContain("not a join token");

    [Fact]
    public async Task A_token_for_an_unreachable_hub_is_reported()
    {
        var address = $"127.0.0.1:{Ports.TakeFree()}";
        (await RefusalAsync(69, "spoke", "join", JoinToken.Make(address, new string('0', 64)).ToString()))
            .ShouldContain($"{address} does not respond");
    }

    [Fact]
    public async Task A_token_with_an_invalid_address_is_reported() =>
        (await RefusalAsync(64, "spoke", "join", JoinToken.Make("not an address", new string('0', 64)).ToString()))
            .ShouldContain("join token");

    [Fact]
    public async Task An_image_with_another_checksum_is_refused()
    {
        var file = Path.Combine(Data, "disk.img");
        await File.WriteAllTextAsync(file, "not a disk", Cancel);
        (await RefusalAsync(64, "image", "import", file, "--sha256", new string('0', 64),
            "--id", "mine", "--user", "me")).ShouldContain("checksum does not match");
        Directory.Exists(Path.Combine(Data, "images", "mine")).ShouldBeFalse();
    }

    [Theory]
    [InlineData("twenty")]
    [InlineData("-5")]
    [InlineData("1e9")]
    [InlineData("12,50")]
    public async Task An_invalid_amount_is_not_recorded(string dollars) =>
        (await RefusalAsync(64, "payment", "record", "jo@example.org", dollars))
            .ShouldContain($"\"{dollars}\" is not an amount");

    [Theory]
    [InlineData("jo@example.org", "0")]
    [InlineData("jo@example.org", "99999999999999")]
    [InlineData("jo@example.org", "0.0000001")]
    [InlineData("jo", "5")]
    public async Task An_impossible_payment_is_not_recorded(string email, string dollars)
    {
        await using var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        await RefusalAsync(64, "payment", "record", email, dollars);
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM payments", null, Cancel)).ShouldBe(0);
    }
}
