using System.Security.Cryptography;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>A VM that is being moved to or from this host, and databases that do not know of it.</summary>
public sealed partial class VmReconcilerTests
{
    const string TransferId = "0123456789abcdef0123456789abcdef";

    readonly LoopTransfers transfers = new();

    /// <summary>What is sent comes back when it is asked for.</summary>
    sealed class LoopTransfers : ITransfers
    {
        public DiskExport? Sent { get; set; }

        /// <summary>How many attempts to receive break off first.</summary>
        public int Breaks { get; set; }

        public Task SendAsync(string id, DiskExport disk, CancellationToken cancel)
        {
            Sent = disk;
            return Task.CompletedTask;
        }

        public async Task<string> ReceiveAsync(
            string id, Func<IncomingDisk, Task<string>> import, CancellationToken cancel)
        {
            if (Sent is not { } disk || Breaks-- > 0) throw new TransferException("Not there yet.");
            using var all = new MemoryStream();
            await foreach (var part in disk.ReadAsync(cancel)) all.Write(part.Span);
            var sum = Convert.ToHexStringLower(SHA256.HashData(all.ToArray()));
            return await import(new IncomingDisk(disk.Header, disk.ReadAsync(cancel), () => sum));
        }
    }

    WantedVm Copy(Power power, long generation, int moves = 0, bool receives = false)
    {
        var wanted = Wanted(power, generation);
        (wanted.IsCopy, wanted.Moves, wanted.HasRun) = (true, moves, true);
        if (receives) wanted.Transfer = new WantedTransfer { Id = TransferId, Direction = Direction.Receive };
        return wanted;
    }

    WantedVm Own(Power power, long generation, int moves, bool sends = false)
    {
        var wanted = Wanted(power, generation);
        (wanted.Moves, wanted.HasRun) = (moves, true);
        if (sends) wanted.Transfer = new WantedTransfer { Id = TransferId, Direction = Direction.Send };
        return wanted;
    }

    [Fact]
    public async Task A_disk_is_sent_only_once_the_vm_is_off()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        hypervisor.GuestListens = false;
        var off = Own(Power.Off, 2, 0, sends: true);
        off.StopGraceSeconds = 1;
        reconciler.Want(1, off).ShouldBeTrue();
        await AwaitAsync("it is offered", r => r is { Power: Power.Off, Generation: 2 } && transfers.Sent is not null);
        reports.ShouldContain(r => r.Power == Power.On && r.Generation == 2 && r.Transfer == null);
    }

    [Fact]
    public async Task A_disk_arrives_after_breaks_is_kept_and_started_with_the_known_host_key()
    {
        var source = VmRecord.New(1, Wanted(Power.On, 1)).Spec;
        await hypervisor.MakeDiskAsync(source, CancellationToken.None);
        var key = hypervisor.Contents[Id].HostKey;
        transfers.Sent = await hypervisor.ExportDiskAsync(source, TransferId, CancellationToken.None);
        transfers.Breaks = 1;
        await hypervisor.RemoveAsync(Id, CancellationToken.None);

        var reconciler = Start(VmRecord.New(1, Copy(Power.Off, 1, receives: true)));
        await AwaitAsync("it has arrived", r => r.Transfer is { Sha256.Length: 64 });
        reports.Last().ShouldSatisfyAllConditions(
            r => r.Power.ShouldBe(Power.Off), r => r.HasRun.ShouldBeFalse(),
            r => r.Transfer.BytesDone.ShouldBe(r.Transfer.BytesTotal));
        records.LoadAll().Single().Received!.Transfer.ShouldBe(TransferId);
        reconciler.Want(1, Own(Power.On, 2, 1)).ShouldBeTrue();
        await AwaitReadyAsync();
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(key);
        reports.Last().HasRun.ShouldBeTrue();
        hypervisor.DisksMade.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_copy_that_is_no_longer_wanted_leaves_nothing()
    {
        var reconciler = Start(VmRecord.New(1, Copy(Power.Off, 1, receives: true)));
        await AwaitAsync("it waits", r => r is { Power: Power.Off, Generation: 1 });
        reconciler.Want(1, Copy(Power.Gone, 2)).ShouldBeTrue();
        await AwaitAsync("nothing is left", r => r is { Power: Power.Gone, Generation: 2 });
        records.LoadAll().ShouldBeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_outdated_database_neither_starts_an_old_disk_nor_drops_the_only_one(bool isCopy)
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var disk = hypervisor.Contents[Id];
        if (isCopy)
        {
            // It was moved here, and runs; the database that is restored has it elsewhere, and this as a copy to drop.
            reconciler.Want(1, Own(Power.On, 2, 5)).ShouldBeTrue();
            await AwaitAsync("it runs on", r => r is { Power: Power.On, Phase: Phase.Ready, Generation: 2 });
            reconciler.Want(2, Copy(Power.Gone, 1, 4)).ShouldBeTrue();
            await AwaitAsync("it is refused", r => r is { Epoch: 2, ProblemFinal: true, DiskLost: false });
            hypervisor.Running.ShouldContain(Id);
            hypervisor.Contents[Id].ShouldBe(disk);
            return;
        }
        // It was moved away, and its copy is still here; the database that is restored wants it on.
        reconciler.Want(1, Copy(Power.Off, 2, 5)).ShouldBeTrue();
        await AwaitAsync("it is off", r => r is { Power: Power.Off, Generation: 2 });
        reconciler.Want(2, Own(Power.On, 1, 4)).ShouldBeTrue();
        await AwaitAsync("it is refused", r => r is { Epoch: 2, ProblemFinal: true, DiskLost: true });
        reports.Last().Problem.ShouldContain("moved to another");
        hypervisor.Running.ShouldBeEmpty();
        // Its owner may delete it all the same.
        reconciler.Want(2, Own(Power.Gone, 2, 4)).ShouldBeTrue();
        await AwaitAsync("nothing is left", r => r is { Power: Power.Gone, Epoch: 2 });
    }

    [Theory]
    [InlineData(Verb.ExportDisk, FaultKind.Fail)]
    [InlineData(Verb.ImportDisk, FaultKind.Fail)]
    [InlineData(Verb.ImportDisk, FaultKind.LoseAnswer)]
    public async Task A_transfer_that_misbehaves_once_only_causes_a_delay(Verb verb, FaultKind kind)
    {
        var source = VmRecord.New(1, Wanted(Power.On, 1)).Spec;
        await hypervisor.MakeDiskAsync(source, CancellationToken.None);
        hypervisor.Inject(verb, new Fault(kind));
        if (verb == Verb.ExportDisk)
        {
            Start(VmRecord.New(1, Own(Power.Off, 1, 0, sends: true)));
            await AwaitAsync("it is offered", _ => transfers.Sent is not null);
            return;
        }
        transfers.Sent = await hypervisor.ExportDiskAsync(source, TransferId, CancellationToken.None);
        await hypervisor.RemoveAsync(Id, CancellationToken.None);
        Start(VmRecord.New(1, Copy(Power.Off, 1, receives: true)));
        await AwaitAsync("it has arrived", r => r.Transfer is { Sha256.Length: 64 });
    }
}
