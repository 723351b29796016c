using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using CsCheck;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Link;

/// <summary>What a Spoke may send, and what happens to the rest: manual cases and random messages.</summary>
public sealed class IntakeTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    const string Ed25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    static VmReport Report() => new()
    {
        Id = "capsul-0123456789",
        Power = Power.On,
        Phase = Phase.Ready,
        SshHost = "203.0.113.5",
        SshPort = 22,
        HostKeys = { new SshHostKey { Type = "ssh-ed25519", Key = Ed25519 } },
    };

    public static TheoryData<string, Action<VmReport>> Refused() => new()
    {
        { "an id that is a path", r => r.Id = "../../etc/cron.d/x" },
        { "an unknown phase", r => r.Phase = (Phase)3_000_000 },
        { "an unknown power", r => r.Power = (Power)7 },
        { "a negative generation", r => r.Generation = -1 },
        { "a negative epoch", r => r.Epoch = -1 },
        { "negative restarts", r => r.Restarts = -1 },
        { "a port that is none", r => r.SshPort = 70_000 },
        { "a host without a port", r => r.SshPort = 0 },
        { "a host that runs a command", r => r.SshHost = "u;curl x|sh" },
        { "a host that is an option", r => r.SshHost = "-oProxyCommand=x" },
        { "a host of two words", r => r.SshHost = "a b" },
        { "a host with a line end", r => r.SshHost = "a\nb" },
        { "the address of all addresses", r => r.SshHost = "0.0.0.0" },
        { "more host keys than there are types", r => r.HostKeys.AddRange(Enumerable.Repeat(new SshHostKey(), 17)) },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_malformed_message_ends_the_connection(string what, Action<VmReport> spoil)
    {
        var report = Report();
        spoil(report);
        Should.Throw<RpcException>(() => Intake.Check(report), what).StatusCode.ShouldBe(StatusCode.InvalidArgument);
    }

    [Theory]
    [InlineData("@cert-authority *", Ed25519)]
    [InlineData("ssh-ed25519", "AAAA")]
    [InlineData("ssh-ed25519", Ed25519 + "\n@cert-authority * ssh-rsa AAAA")]
    [InlineData("ssh-rsa", Ed25519)]
    [InlineData("", "")]
    public void An_invalid_key_printed_by_a_guest_is_dropped(string type, string key)
    {
        var report = Report();
        report.HostKeys.Add(new SshHostKey { Type = type, Key = key });
        Intake.Check(report).HostKeys.ShouldHaveSingleItem().Key.ShouldBe(Ed25519);
    }

    [Fact]
    public void Texts_are_truncated_and_contain_no_control_characters()
    {
        var report = Report();
        report.Problem = "\x1b[31mred\x1b]0;title\a " + new string('x', 100_000) + "\ud800\u202e";
        report.ConsoleTail = new string('y', 7 << 20) + "\x1b[2Jend\n";
        var seen = Intake.Check(report);
        seen.Problem.Length.ShouldBeLessThanOrEqualTo(500);
        seen.Problem.ShouldNotContain('\x1b');
        seen.ConsoleTail.Length.ShouldBeLessThanOrEqualTo(Protocol.ConsoleTailBytes);
        seen.ConsoleTail.ShouldEndWith("[2Jend\n");
    }

    static Hello Hello() => new()
    {
        Protocol = Protocol.Version,
        Version = "1",
        Facts = new HostFacts
        {
            MemoryMb = 1024,
            Network = new NetworkFacts { Cidr = "10.77.0.0/24", First = "10.77.0.2", Last = "10.77.0.254" },
            Images = { new ImageFacts { Id = "tiny", Sha256 = VmRows.ImageSha256, LoginUser = "capsul" } },
        },
    };

    public static TheoryData<string, Action<Hello>> RefusedHellos() => new()
    {
        { "no facts", h => h.Facts = null },
        { "no network", h => h.Facts.Network = null },
        { "IPv6 read as IPv4", h => h.Facts.Network.First = "::1" },
        { "a gateway outside", h => h.Facts.Network.Gateway = "10.78.0.1" },
        { "a network of one", h => (h.Facts.Network.Cidr, h.Facts.Network.First, h.Facts.Network.Last) =
            ("10.77.0.2/32", "10.77.0.2", "10.77.0.2") },
        { "an IPv6 network of another size", h => (h.Facts.Network.Cidr6, h.Facts.Network.Gateway6) =
            ("fd00::/56", "fd00::1") },
        { "a link-local IPv6 network", h => (h.Facts.Network.Cidr6, h.Facts.Network.Gateway6) =
            ("fe80::/64", "fe80::1") },
        { "an IPv6 gateway outside", h => (h.Facts.Network.Cidr6, h.Facts.Network.Gateway6) =
            ("fd00::/64", "fd00:0:0:1::1") },
        { "an IPv6 gateway with a zone", h => (h.Facts.Network.Cidr6, h.Facts.Network.Gateway6) =
            ("fd00::/64", "fd00::1%5") },
        { "an end outside", h => h.Facts.Network.Last = "10.78.0.1" },
        { "ends the wrong way round", h => (h.Facts.Network.First, h.Facts.Network.Last) = ("10.77.0.9", "10.77.0.2") },
        { "everything there is", h => (h.Facts.Network.Cidr, h.Facts.Network.First, h.Facts.Network.Last) =
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255") },
        { "a login user that is a command", h => h.Facts.Images[0].LoginUser = "u;curl x|sh" },
        { "an image that is a path", h => h.Facts.Images[0].Id = "../x" },
        { "fifty thousand images", h => h.Facts.Images.AddRange(Enumerable.Repeat(h.Facts.Images[0], 50_000)) },
        { "negative memory", h => h.Facts.MemoryMb = -1 },
        { "more memory than there is", h => h.Facts.MemoryMb = int.MaxValue },
    };

    [Theory]
    [MemberData(nameof(RefusedHellos))]
    public void An_invalid_hello_is_refused(string what, Action<Hello> spoil)
    {
        var hello = Hello();
        Intake.Check(hello).Addresses.Count.ShouldBe(253);
        spoil(hello);
        Should.Throw<RpcException>(() => Intake.Check(hello), what).StatusCode.ShouldBe(StatusCode.InvalidArgument);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(5u)]
    [InlineData(0x80000001u)]
    [InlineData(uint.MaxValue)]
    public void A_distant_protocol_version_is_refused_with_a_message(uint version) =>
        Should.Throw<RpcException>(() => Intake.CheckProtocol(version)).Status.Detail.ShouldContain(
            "Upgrade the older");

    static readonly Gen<string> Text = Gen.OneOf(
        Gen.String[0, 30], Gen.Const(""), Gen.Const("capsul-0123456789"),
        Gen.Const("10.77.0.1"), Gen.Const("\0\x1b\ud800"), Gen.Const(new string('x', 70_000)));

    static readonly Gen<int> Number =
        Gen.OneOf(Gen.Int, Gen.Int[-2, 9], Gen.Const(int.MaxValue), Gen.Const(int.MinValue));

    static readonly Gen<VmReport> Reports = Gen.Select(Text, Number, Number, Gen.Long, Text, Number, Text, Text)
        .Select((id, power, phase, generation, host, port, key, tail) =>
            new VmReport
            {
                Id = id,
                Power = (Power)power,
                Phase = (Phase)phase,
                Generation = generation,
                Epoch = generation / 2,
                Restarts = port,
                SshHost = host,
                SshPort = port,
                Problem = tail,
                ConsoleTail = tail,
                HostKeys = { new SshHostKey { Type = key, Key = key } },
            });

    static readonly Gen<SpokeMessage> Messages = Gen.OneOf(
        Reports.Select(r => new SpokeMessage { Vm = r }),
        Reports.List[0, 5].Select(r => new SpokeMessage { Inventory = new Inventory { Vms = { r } } }),
        Gen.Select(Gen.Long, Text, Gen.Bool).Select((disk, problem, answers) => new SpokeMessage
        {
            Heartbeat = new Heartbeat
            {
                DiskFreeMb = disk,
                Problem = problem,
                HypervisorAnswers = answers,
                CutOff = problem,
            },
        }),
        Gen.Select(Text, Number, Text, Text).Select((version, number, first, title) => new SpokeMessage
        {
            Hello = new Hello
            {
                Protocol = (uint)number,
                Version = version,
                Facts = new HostFacts
                {
                    Cpus = number,
                    MemoryMb = number,
                    Network = new NetworkFacts { Cidr = "10.77.0.0/24", First = first, Last = first },
                    Images = { new ImageFacts
                    {
                        Id = title, Title = title, Sha256 = title, LoginUser = title, MinDiskGb = number,
                    } },
                },
            },
        }),
        Gen.Select(Text, Gen.Byte.Array[0, 200]).Select((id, bytes) => new SpokeMessage
        {
            Records = new Records { Vms = { new KeptRecord { Id = id, Record = ByteString.CopyFrom(bytes) } } },
        }),
        Gen.Select(Text, Gen.Long, Gen.Long).Select((id, cpu, bytes) => new SpokeMessage
        {
            Usage = new Usage { Vms = { new VmUsage { Id = id, CpuMs = cpu, ReceivedBytes = bytes } } },
        }),
        Gen.Byte.Array[0, 200].Select(Parse));

    /// <summary>
    /// Random bytes that are a valid message; otherwise an empty one, because gRPC itself rejects those.
    /// </summary>
    static SpokeMessage Parse(byte[] bytes)
    {
        try
        {
            return SpokeMessage.Parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException)
        {
            return new SpokeMessage();
        }
    }

    /// <summary>
    /// Sends messages through the boundary into the real database: what is not refused must be processed without errors
    /// and without harm.
    /// </summary>
    [Fact]
    public async Task Random_messages_are_refused_or_harmless()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO hosts (id, state) VALUES ('evil', 'joined')", null, Cancel);
        var before = await TakeAsync(rows);
        var listener = new Capsul.Hub.Storage.Listener(
            rows.Db, rows.Time, NullLogger<Capsul.Hub.Storage.Listener>.Instance);
        var line = new SpokeConnection(
            "evil", rows.Epoch, rows.Db, rows.Fence, new Heartbeats(rows.Fence, rows.Time), listener, rows.Settings,
            rows.Time, NullLogger.Instance);
        await Messages.SampleAsync(async message =>
        {
            try
            {
                await line.TakeInAsync(message, Cancel);
            }
            catch (RpcException error)
            {
                error.StatusCode.ShouldBeOneOf(
                    StatusCode.InvalidArgument, StatusCode.FailedPrecondition, StatusCode.Unavailable);
            }
        }, iter: 2000, threads: 1);
        (await TakeAsync(rows)).ShouldBe(before);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    /// <summary>Everything that does not belong to the malicious host.</summary>
    static Task<string?> TakeAsync(VmRows rows) => rows.Db.FindAsync<string>(
        """
        SELECT (SELECT string_agg(v::text, '|') FROM vms v) || (SELECT string_agg(i::text, '|') FROM images i)
            || (SELECT string_agg(h::text, '|') FROM hosts h WHERE id <> 'evil') || (SELECT string_agg(s::text, '|')
                FROM usage_spans s)
            || (SELECT string_agg(a::text, '|') FROM addresses a WHERE host <> 'evil')
            || (SELECT count(*) FROM vm_usage) || (SELECT count(*) FROM vm_traffic)
        """, null, Cancel);
}
