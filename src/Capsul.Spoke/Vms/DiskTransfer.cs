using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>The transfer did not come to its end; another attempt may.</summary>
public sealed class TransferException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>The way of a disk to another host.</summary>
public interface ITransfers
{
    /// <summary>Waits for the receiver, and sends. Returns when it has everything.</summary>
    /// <exception cref="TransferException">It broke off, or the receiver is not there.</exception>
    Task SendAsync(string id, DiskExport disk, CancellationToken cancel);

    /// <summary>Waits for the sender, and hands what it sends to <paramref name="import"/>.</summary>
    /// <exception cref="TransferException">It broke off, or the sender is not there.</exception>
    Task<string> ReceiveAsync(string id, Func<IncomingDisk, Task<string>> import, CancellationToken cancel);
}

/// <summary>How far a transfer is.</summary>
/// <param name="Report">For the Hub.</param>
/// <param name="Received">What has arrived, and was verified; null before.</param>
/// <param name="Problem">What is wrong; empty: nothing.</param>
/// <param name="Final">Another attempt cannot help.</param>
/// <param name="Pause">Time until the next look.</param>
public sealed record TransferLook(
    TransferReport Report, ReceivedDisk? Received, string Problem, bool Final, TimeSpan Pause);

/// <summary>
/// Sends or receives the disk of one VM, in the background of its reconciler, for as long as the wanted state says so.
/// An attempt that broke off is repeated from the beginning, with exponential backoff (1 s to 30 s). A disk that was
/// sent is offered again: only the receiver knows whether it has arrived.
/// </summary>
sealed partial class DiskTransfer(IHypervisor hypervisor, Func<ITransfers?> link, TimeProvider time, ILogger log)
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(1), LongestPause = TimeSpan.FromSeconds(30),
        FinalPause = TimeSpan.FromMinutes(5);

    /// <summary>As many breaks are routine: the other host is not there yet, a Hub restarts.</summary>
    const int Routine = 3;

    /// <summary>An attempt. The result is the checksum of what was received.</summary>
    sealed record Attempt(WantedTransfer Wanted, CancellationTokenSource Stop)
    {
        public Task<string> Ended { get; set; } = null!;
    }

    Attempt? attempt;
    WantedTransfer? wanted;
    DateTimeOffset nextTry;
    string problem = "";
    bool final;
    int failures;
    long bytesDone, bytesTotal;

    /// <summary>Whether nothing else is going on.</summary>
    public bool IsOf(WantedTransfer? transfer) => attempt is null || attempt.Wanted.Equals(transfer);

    /// <summary>Ends an attempt that is going on, and forgets everything.</summary>
    public async Task StopAsync()
    {
        if (attempt is { } running)
        {
            await running.Stop.CancelAsync();
            await ((Task)running.Ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            running.Stop.Dispose();
        }
        (attempt, wanted, nextTry, problem, final, failures, bytesDone, bytesTotal) =
            (null, null, default, "", false, 0, 0, 0);
    }

    /// <summary>Starts, continues or ends an attempt.</summary>
    /// <param name="current">The VM's record, with the transfer that is wanted.</param>
    /// <param name="look">Called when an attempt has ended.</param>
    /// <param name="cancel">Ends the attempt, too.</param>
    public async Task<TransferLook> LookAsync(VmRecord current, Action look, CancellationToken cancel)
    {
        var asked = current.Wanted.Transfer;
        if (!asked.Equals(wanted))
        {
            await StopAsync();
            wanted = asked;
        }
        if (asked.Direction == Direction.Receive && current.Received is { } known && known.Transfer == asked.Id)
            return Look(known, LongestPause);
        if (attempt is { Ended.IsCompleted: true } ended && await EndAsync(ended) is { } received)
            return Look(received, LongestPause);
        if (attempt is null && time.GetUtcNow() >= nextTry) Start(current, look, cancel);
        // In one go, where nothing has to be waited for.
        if (attempt is { Ended.IsCompleted: true } quick && await EndAsync(quick) is { } at)
            return Look(at, LongestPause);
        return Look(null, LookAgain);
    }

    TransferLook Look(ReceivedDisk? received, TimeSpan pause) => new(new TransferReport
    {
        Id = wanted!.Id,
        BytesDone = Interlocked.Read(ref bytesDone),
        BytesTotal = Interlocked.Read(ref bytesTotal),
        Sha256 = received?.Sha256 ?? "",
    }, received, problem, final, pause);

    void Start(VmRecord current, Action look, CancellationToken cancel)
    {
        var next = new Attempt(current.Wanted.Transfer, CancellationTokenSource.CreateLinkedTokenSource(cancel));
        attempt = next;
        next.Ended = RunAsync(current.Spec, next.Wanted, look, next.Stop.Token);
    }

    async Task<string> RunAsync(VmSpec vm, WantedTransfer transfer, Action look, CancellationToken cancel)
    {
        try
        {
            if (link() is not { } way) throw new TransferException("There is no way to the other host.");
            if (transfer.Direction == Direction.Send)
            {
                await way.SendAsync(transfer.Id, await hypervisor.ExportDiskAsync(vm, transfer.Id, cancel), cancel);
                return "";
            }
            if (await hypervisor.FindImportAsync(vm, transfer.Id, cancel) is { } there) return there;
            await way.ReceiveAsync(transfer.Id, disk => ImportAsync(vm, transfer.Id, disk, cancel), cancel);
            // The source drops its disk when this counts, and one that is off is not started before.
            return await hypervisor.FindImportAsync(vm, transfer.Id, cancel)
                ?? throw new TransferException("What was received is not on this host.");
        }
        finally
        {
            look();
        }
    }

    Task<string> ImportAsync(VmSpec vm, string id, IncomingDisk disk, CancellationToken cancel)
    {
        if (!TransferLimits.IsSound(disk.Header, vm.DiskGb))
            throw new HypervisorException("The other host sends a disk of another size.", final: true);
        Interlocked.Exchange(ref bytesTotal, disk.Bytes);
        Interlocked.Exchange(ref bytesDone, 0);
        var counted = disk with { Content = CountAsync(disk.Content, cancel) };
        return hypervisor.ImportDiskAsync(vm, id, counted, cancel);
    }

    async IAsyncEnumerable<ReadOnlyMemory<byte>> CountAsync(IAsyncEnumerable<ReadOnlyMemory<byte>> content,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancel)
    {
        await foreach (var part in content.WithCancellation(cancel))
        {
            Interlocked.Add(ref bytesDone, part.Length);
            yield return part;
        }
    }

    /// <summary>Takes the result of an attempt; what was received, if it was.</summary>
    async Task<ReceivedDisk?> EndAsync(Attempt ended)
    {
        attempt = null;
        ended.Stop.Dispose();
        try
        {
            var sum = await ended.Ended;
            (problem, final, failures) = ("", false, 0);
            // The receiver comes again at once if it could not use it.
            nextTry = time.GetUtcNow() + LookAgain;
            return ended.Wanted.Direction == Direction.Receive ? new ReceivedDisk(ended.Wanted.Id, sum) : null;
        }
        catch (HypervisorException error)
        {
            Log.Failed(log, ended.Wanted.Id, error.Message);
            (problem, final) = (error.Message, error.Final);
            nextTry = time.GetUtcNow() + (error.Final ? FinalPause : NextPause());
        }
        catch (Exception error) when (error is TransferException or OperationCanceledException)
        {
            (problem, final) = (failures >= Routine ? error.Message : "", false);
            nextTry = time.GetUtcNow() + NextPause();
        }
        return null;
    }

    TimeSpan NextPause()
    {
        var pause = TimeSpan.FromSeconds(Math.Min(Math.Pow(2, failures), LongestPause.TotalSeconds));
        failures = Math.Min(failures + 1, 10);
        return pause;
    }

    static partial class Log
    {
        [LoggerMessage(414, LogLevel.Warning, "Transfer {Id}: {Why}")]
        public static partial void Failed(ILogger log, string id, string why);
    }
}
