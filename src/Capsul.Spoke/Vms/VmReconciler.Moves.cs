using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>A VM that is being moved to or from this host.</summary>
public sealed partial class VmReconciler
{
    readonly DiskTransfer transfer = new(hypervisor, transfers, time, log);

    /// <summary>Whether files of earlier transfers may be there.</summary>
    bool mayHaveExports = true;

    /// <summary>The owner deletes it: that counts, whatever the database knows of moves.</summary>
    static bool IsDeletion(WantedVm wanted) => wanted is { Power: Power.Gone, IsCopy: false };

    /// <summary>
    /// Nothing is started, received or dropped for a database that knows less of the VM's moves than this Spoke: the
    /// disk may be outdated, or the only one.
    /// </summary>
    async Task<TimeSpan?> RefuseAsync(VmRecord current, CancellationToken cancel)
    {
        await transfer.StopAsync();
        var power = await hypervisor.FindAsync(Id, cancel);
        Report(current, power switch
        {
            DomainPower.On => Power.On,
            DomainPower.Unknown => Power.Unknown,
            _ => Power.Off,
        }, Phase.None, problem: current.Wanted.IsCopy
            ? $"{Id} has been moved to this host before, according to a database that was newer. Nothing is changed."
            : $"The disk of {Id} is no longer on this host: it was moved to another one, according to a database that "
                + "was newer. It is not started here.",
            final: true, diskLost: !current.Wanted.IsCopy && power != DomainPower.On);
        return FinalPause;
    }

    /// <summary>Ends a transfer that is no longer wanted, and removes its files.</summary>
    async Task EndTransferAsync(VmRecord current, CancellationToken cancel)
    {
        var wanted = current.Wanted.Transfer;
        if (!transfer.IsOf(wanted)) await transfer.StopAsync();
        if (wanted is { Direction: Direction.Send })
        {
            mayHaveExports = true;
        }
        else if (mayHaveExports)
        {
            await hypervisor.DropExportsAsync(Id, cancel);
            mayHaveExports = false;
        }
    }

    async Task<TimeSpan?> TransferAsync(VmRecord current, CancellationToken cancel)
    {
        // Received disks and what they are for must be on disk.
        if (!writer.Flush()) throw new HypervisorException("The host's disk is full.", final: true);
        var look = await transfer.LookAsync(current, LookNow, cancel);
        if (look.Received is { } received && received != current.Received)
            current = writer.Change(r => r with { Received = received, Started = false, RanUnder = 0 });
        Report(current, Power.Off, Phase.None, problem: look.Problem, final: look.Final, transfer: look.Report);
        return look.Pause;
    }
}
