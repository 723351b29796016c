using System.Security.Cryptography;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Tests.Support;
using Capsul.Wire;
using CsCheck;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>Recovery records: who can write one, and for whom it counts.</summary>
public sealed class RecoveryRecordTests : IAsyncLifetime
{
    const string Id = "capsul-0123456789", Host = "rack1";

    TestDatabase database = null!;
    Authority authority = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        database = await TestDatabase.CreateAsync();
        authority = await Authority.OpenAsync(new KeyRing(database.Db, new byte[32]), TimeProvider.System, Cancel);
    }

    public ValueTask DisposeAsync()
    {
        authority.Dispose();
        return database.DisposeAsync();
    }

    static VmRecoveryRecord Record() => new()
    {
        Id = Id,
        Host = Host,
        Epoch = 3,
        Generation = 7,
        Email = "ada@example.org",
        Name = "web",
        Size = "f1-xs",
        DollarsPerMonth = "5.00",
        Vcpus = 1,
        MemoryMb = 512,
        DiskGb = 25,
        ImageId = "tiny",
        ImageSha256 = VmRows.ImageSha256,
        LoginUser = "capsul",
        CreatedUnixUs = 1_700_000_000_123_456,
        Wanted = Power.On,
        Mac = "52:54:0a:4d:00:02",
        Address = "10.77.0.2",
        SshKeys = { new NamedSshKey { Name = "my laptop", Line = "ssh-ed25519 AAAA" } },
        Further = { new FurtherAddress { Address = "10.77.0.3", DollarsPerMonth = "2.00" } },
    };

    KeptRecord Signed(VmRecoveryRecord record)
    {
        var bytes = record.ToByteArray();
        return new KeptRecord
        {
            Id = record.Id,
            Record = ByteString.CopyFrom(bytes),
            Signature = ByteString.CopyFrom(authority.SignRecord(bytes)),
        };
    }

    CheckedRecords Check(KeptRecord kept, string host = Host) =>
        Intake.Check(new Records { Vms = { kept } }, host, authority);

    [Fact]
    public void A_record_comes_back_as_it_was_written()
    {
        var vm = Check(Signed(Record())).Vms.ShouldHaveSingleItem();
        vm.ShouldSatisfyAllConditions(
            v => (v.Email, v.Name, v.Size, v.DollarsPerMonth).ShouldBe(("ada@example.org", "web", "f1-xs", 5.00m)),
            v => (v.Address, v.Mac, v.Wanted, v.HasRun).ShouldBe(("10.77.0.2", "52:54:0a:4d:00:02", "on", false)),
            v => v.Created.ShouldBe(DateTime.UnixEpoch.AddMicroseconds(1_700_000_000_123_456)),
            v => v.Further.ShouldBe([new RecoverableAddress("10.77.0.3", 2)]),
            v => v.Keys.ShouldBe([new RecoverableKey("my laptop", "ssh-ed25519", "AAAA")]));
    }

    [Fact]
    public void A_spoke_can_say_that_a_vm_has_run_since_but_not_that_it_has_not()
    {
        var kept = Signed(Record());
        kept.HasRun = true;
        Check(kept).Vms[0].HasRun.ShouldBeTrue();
        Check(Signed(new VmRecoveryRecord(Record()) { HasRun = true })).Vms[0].HasRun.ShouldBeTrue();
    }

    [Fact]
    public void A_changed_record_does_not_count()
    {
        var kept = Signed(Record());
        kept.Record = new VmRecoveryRecord(Record()) { Email = "eve@example.org" }.ToByteString();
        Refused(Check(kept)).ShouldContain("not signed by this Hub's authority");
        kept = Signed(Record());
        kept.Record = new VmRecoveryRecord(Record()) { DollarsPerMonth = "0" }.ToByteString();
        Refused(Check(kept)).ShouldContain("not signed by this Hub's authority");
    }

    [Fact]
    public async Task A_record_signed_by_another_authority_or_for_another_purpose_does_not_count()
    {
        await using var other = await TestDatabase.CreateAsync();
        using var stranger =
            await Authority.OpenAsync(new KeyRing(other.Db, new byte[32]), TimeProvider.System, Cancel);
        var kept = Signed(Record());
        kept.Signature = ByteString.CopyFrom(stranger.SignRecord(kept.Record.ToByteArray()));
        Refused(Check(kept)).ShouldContain("not signed");
        // The key also signs certificates, whose contents a Spoke influences.
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        authority.VerifyRecord([1, 2, 3], key.SignData((byte[])[1, 2, 3], HashAlgorithmName.SHA256)).ShouldBeFalse();
    }

    [Fact]
    public void A_record_of_another_host_or_under_another_id_does_not_count()
    {
        Refused(Check(Signed(Record()), host: "rack2")).ShouldContain("its record is of host rack1");
        var kept = Signed(Record());
        kept.Id = "capsul-9999999999";
        Refused(Check(kept)).ShouldContain($"its record is of {Id}");
    }

    [Fact]
    public void A_vm_without_a_record_is_named() =>
        Refused(Check(new KeptRecord { Id = Id })).ShouldBe($"{Id}: the Spoke has no recovery record of it.");

    public static TheoryData<string, Action<VmRecoveryRecord>> Malformed() => new()
    {
        { "a free VM", r => r.DollarsPerMonth = "-1" },
        { "no price", r => r.DollarsPerMonth = "" },
        { "no email address", r => r.Email = "ada" },
        { "a name with a slash", r => r.Name = "a/b" },
        { "a size that is a sentence", r => r.Size = "DROP TABLE" },
        { "no memory", r => r.MemoryMb = 0 },
        { "no generation", r => r.Generation = 0 },
        { "no address", r => r.Address = "" },
        { "IPv6", r => r.Address = "::1" },
        { "a further address that is none", r => r.Further[0].Address = "::1" },
        { "a further address that costs nothing knowable", r => r.Further[0].DollarsPerMonth = "-1" },
        { "more further addresses than a VM has", r => r.Further.AddRange(Enumerable.Range(10, 8)
            .Select(n => new FurtherAddress { Address = $"10.77.0.{n}", DollarsPerMonth = "1" })) },
        { "a key of one word", r => r.SshKeys[0].Line = "ssh-ed25519" },
        { "a key with a line end", r => r.SshKeys[0].Line = "ssh-ed25519 A\nB" },
        { "a time before all VMs", r => r.CreatedUnixUs = 0 },
        { "a time after all times", r => r.CreatedUnixUs = long.MaxValue },
        { "an unknown power", r => r.Wanted = Power.Unknown },
    };

    [Theory]
    [MemberData(nameof(Malformed))]
    public void A_malformed_record_is_refused_alone(string what, Action<VmRecoveryRecord> spoil)
    {
        var record = Record();
        spoil(record);
        var seen = Intake.Check(new Records { Vms = { Signed(record), Signed(Record()) } }, Host, authority);
        seen.Refused.ShouldHaveSingleItem(what).ShouldContain("malformed");
        seen.Vms.Count.ShouldBe(1);
    }

    static readonly Gen<ByteString> Bytes = Gen.OneOf(
        Gen.Byte.Array[0, 200].Select(b => ByteString.CopyFrom(b)), Gen.Const(ByteString.Empty),
        Gen.Const(ByteString.CopyFrom(new byte[Protocol.MaxRecordBytes + 1])), Gen.Const(Record().ToByteString()));

    static readonly Gen<Records> Nonsense = Gen.Select(
        Gen.OneOf(Gen.Const(Id), Gen.String[0, 20], Gen.Const("../x")), Bytes, Bytes, Gen.Bool)
        .Select((id, record, signature, last) => new KeptRecord
        { Id = id, Record = record, Signature = signature, HasRun = last }).List[0, 4]
        .Select(kept => new Records { Vms = { kept } });

    [Fact]
    public void Random_records_are_refused() => Nonsense.Sample(records =>
    {
        try
        {
            var seen = Intake.Check(records, Host, authority);
            seen.Vms.ShouldBeEmpty();
            seen.Refused.Count.ShouldBe(records.Vms.Count);
            seen.Refused.All(r => r.Length < 200 && !r.Any(char.IsControl)).ShouldBeTrue();
        }
        catch (RpcException error)
        {
            error.StatusCode.ShouldBe(StatusCode.InvalidArgument);
        }
    }, iter: 1000, threads: 1);

    [Fact]
    public void Large_wanted_states_are_sent_in_parts_of_one_generation()
    {
        var wanted = new Wanted { Epoch = 2, Generation = 9 };
        wanted.Vms.AddRange(Enumerable.Range(0, 5).Select(n => new WantedVm
        { Id = $"capsul-000000000{n}", Record = ByteString.CopyFrom(new byte[Protocol.MessagePartBytes / 2]) }));
        var parts = SpokeConnection.Parts(wanted).ToList();
        parts.Select(p => p.Vms.Count).ShouldBe([1, 1, 1, 1, 1]);
        parts.ShouldAllBe(p => p.Epoch == 2 && p.Generation == 9);
        SpokeConnection.Parts(new Wanted { Epoch = 2, Generation = 10 }).ShouldHaveSingleItem()
            .Generation.ShouldBe(10, "also a generation without VMs is acknowledged");
    }

    static string Refused(CheckedRecords seen)
    {
        seen.Vms.ShouldBeEmpty();
        return seen.Refused.ShouldHaveSingleItem();
    }
}
