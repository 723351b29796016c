using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// Keeps one VM as it is wanted. Level-triggered: it compares what should be with what is and does the next thing, again and again,
/// so that the same wish twice, a crash in the middle, or a missed event change nothing. One VM has one keeper, and a keeper does one
/// thing at a time. What it cannot do it reports, and tries again with a growing pause (1 s doubling to 30 s) unless trying again
/// cannot help. Unknown is reported as unknown and leads to nothing.
/// </summary>
public sealed partial class VmKeeper(
    VmRecord record, IHypervisor hypervisor, VmRecords records, Settings settings, Action<VmReport> report, TimeProvider time, ILogger log)
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(30), Glance = TimeSpan.FromMilliseconds(100), BannerLimit = TimeSpan.FromSeconds(2);
    static readonly TimeSpan TailEvery = TimeSpan.FromSeconds(3), LongestPause = TimeSpan.FromSeconds(30);
    static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(5), Patience = TimeSpan.FromMinutes(3), KeysLimit = TimeSpan.FromSeconds(10);
    /// <summary>How much of the console is searched for host keys, bytes: cloud-init prints them among the last lines of a boot.</summary>
    const int ConsoleBytes = 256 << 10;

    readonly SemaphoreSlim wake = new(0, 1);
    readonly Lock gate = new();
    CancellationTokenSource waiting = new();
    VmRecord record = record;
    VmReport last = new() { Id = record.Wanted.Id };
    /// <summary>The generation that this round answers to; a wish that comes in the middle is answered by the next round.</summary>
    long round;
    Relay? relay;
    bool seenOn, ended;
    /// <summary>The record is not on disk as it is here, because it could not be written.</summary>
    bool unwritten;

    public string Id => record.Wanted.Id;

    /// <summary>What was last reported.</summary>
    public VmReport Last => last;

    /// <summary>
    /// Takes in a new wish; an older one changes nothing. Kept on disk before this returns, unless the disk is full. False: this keeper's
    /// VM is gone and it has ended; a newer wish needs a new keeper.
    /// </summary>
    public async Task<bool> WantAsync(WantedVm wanted, CancellationToken cancel)
    {
        lock (gate)
        {
            if (ended) return false;
            if (wanted.Generation <= record.Wanted.Generation) return true;
            // The address is kept when a later message, about a VM on its way out, no longer has it.
            if (wanted.Address.Length == 0) (wanted.Address, wanted.Mac) = (record.Wanted.Address, record.Wanted.Mac);
            record = record with { Wanted = wanted };
        }
        await WriteDownAsync(cancel);
        Wake(interrupt: true);
        return true;
    }

    /// <summary>Writes the record. Where that fails it is tried again before anything is made or started; removing does not need it.</summary>
    public async Task WriteDownAsync(CancellationToken cancel)
    {
        unwritten = true;
        try
        {
            await records.SaveAsync(record, cancel);
            unwritten = false;
        }
        catch (IOException error)
        {
            Log.NotWritten(log, Id, error.Message);
        }
    }

    /// <summary>Something may have changed: look.</summary>
    public void Look() => Wake(interrupt: false);

    /// <summary>Runs until cancelled, or until the VM is wanted gone and is.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        var failures = 0;
        try
        {
            while (true)
            {
                var pause = LookAgain;
                using var interruptible = BeginRound(cancel);
                try
                {
                    if (await ConvergeAsync(interruptible.Token, cancel) && End()) return;
                    failures = 0;
                }
                catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
                {
                    continue; // A new wish came while waiting.
                }
                catch (HypervisorException error)
                {
                    Log.Failed(log, Id, error.Message);
                    await ReportProblemAsync(error, cancel);
                    pause = error.Final ? Timeout.InfiniteTimeSpan : Pause(failures++);
                }
                catch (Exception error) when (!cancel.IsCancellationRequested)
                {
                    // A bug, or the disk under the records. One VM's trouble must not end the care for the others.
                    Log.Threw(log, Id, error);
                    Report(last.Power, last.Phase, problem: "The host has trouble with this capsul; its operator finds more in the log.");
                    pause = Pause(failures++);
                }
                await wake.WaitAsync(pause, cancel);
            }
        }
        finally
        {
            if (relay is not null) await relay.DisposeAsync();
        }
    }

    /// <summary>No further round, unless a newer wish came in during the last one.</summary>
    bool End()
    {
        lock (gate) return ended = record.Wanted.Generation == round;
    }

    CancellationTokenSource BeginRound(CancellationToken cancel)
    {
        lock (gate)
        {
            waiting = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            return waiting;
        }
    }

    void Wake(bool interrupt)
    {
        lock (gate)
        {
            if (wake.CurrentCount == 0) wake.Release();
            if (!interrupt) return;
            try
            {
                waiting.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // Between two rounds; the next one sees the new wish.
            }
        }
    }

    /// <summary>One round. Waits may be interrupted by <paramref name="wait"/>; what the hypervisor does runs to its end. True when all is gone.</summary>
    async Task<bool> ConvergeAsync(CancellationToken wait, CancellationToken cancel)
    {
        var wanted = record.Wanted;
        round = wanted.Generation;
        switch (wanted.Power)
        {
            case Power.Gone:
                await RemoveAsync(cancel);
                return true;
            case Power.Off:
                await TurnOffAsync(wanted, wait, cancel);
                await CloseRelayAsync();
                Report(Power.Off, Phase.None);
                return false;
            case Power.On:
                if (unwritten) await WriteDownAsync(cancel);
                if (unwritten) throw new HypervisorException("The host's disk is full.", final: true);
                await TurnOnAsync(wanted, wait, cancel);
                return false;
            default:
                return false;
        }
    }

    async Task RemoveAsync(CancellationToken cancel)
    {
        await CloseRelayAsync();
        await hypervisor.RemoveAsync(Id, cancel);
        records.Delete(Id);
        Report(Power.Gone, Phase.None);
    }

    async Task TurnOffAsync(WantedVm wanted, CancellationToken wait, CancellationToken cancel)
    {
        seenOn = false;
        if (await hypervisor.FindAsync(Id, cancel) != DomainPower.On) return;
        Report(Power.On, last.Phase);
        if (wanted.StopGraceSeconds > 0)
        {
            var until = time.GetUtcNow() + TimeSpan.FromSeconds(wanted.StopGraceSeconds);
            var nextAsk = time.GetUtcNow();
            while (time.GetUtcNow() < until)
            {
                if (await hypervisor.FindAsync(Id, cancel) != DomainPower.On) return;
                if (time.GetUtcNow() >= nextAsk)
                {
                    // Asked again now and then: a guest in its first seconds does not hear the button.
                    await hypervisor.ShutdownAsync(Id, cancel);
                    nextAsk = time.GetUtcNow() + AskAgain;
                }
                await PauseAsync(Glance, wait);
            }
        }
        await hypervisor.TurnOffAsync(Id, cancel);
    }

    async Task TurnOnAsync(WantedVm wanted, CancellationToken wait, CancellationToken cancel)
    {
        var power = await hypervisor.FindAsync(Id, cancel);
        if (power == DomainPower.Unknown)
        {
            Report(Power.Unknown, last.Phase);
            return;
        }
        if (power == DomainPower.On && wanted.Restarts > record.RestartsDone)
        {
            await TurnOffAsync(wanted, wait, cancel);
            power = DomainPower.Off;
        }
        if (power != DomainPower.On)
        {
            if (await TurnedItselfOffAsync(wanted, cancel)) return;
            await StartAsync(cancel);
        }
        else if (!seenOn)
        {
            // This Spoke did not see it start: the one before may have been killed in the middle of that, with the machine on and its
            // address not served yet. The verb does what is missing.
            await hypervisor.StartAsync(record.Spec, cancel);
        }
        await KeepAsync(record with { RestartsDone = Math.Max(record.RestartsDone, wanted.Restarts) }, cancel);
        seenOn = true;
        await AwaitSshAsync(wait, cancel);
    }

    /// <summary>
    /// Seen running, now off, and nobody asked: the guest shut itself down, and stays off until somebody wants otherwise. After a
    /// restart of the host nothing was seen running, and the VM is started again.
    /// </summary>
    async Task<bool> TurnedItselfOffAsync(WantedVm wanted, CancellationToken cancel)
    {
        if (seenOn && wanted.Restarts <= record.RestartsDone)
            await KeepAsync(record with { StoppedItself = wanted.Generation }, cancel);
        seenOn = false;
        if (record.StoppedItself < wanted.Generation) return false;
        await CloseRelayAsync();
        Report(Power.Off, Phase.None);
        return true;
    }

    async Task StartAsync(CancellationToken cancel)
    {
        var spec = record.Spec;
        await hypervisor.MakeDiskAsync(spec, cancel);
        Report(Power.Off, Phase.Disk);
        await hypervisor.DefineAsync(spec, cancel);
        Report(Power.Off, Phase.Defined);
        await hypervisor.StartAsync(spec, cancel);
        Report(Power.On, Phase.Started);
    }

    async Task ReportProblemAsync(HypervisorException error, CancellationToken cancel)
    {
        var tail = "";
        if (!error.Unreachable)
        {
            try
            {
                tail = ConsoleText.Tail(await hypervisor.ConsoleTailAsync(Id, ConsoleBytes, cancel), Protocol.ConsoleTailBytes);
            }
            catch (HypervisorException other)
            {
                Log.Failed(log, Id, other.Message);
            }
        }
        Report(error.Unreachable ? Power.Unknown : last.Power, last.Phase, tail, error.Message, error.Final);
    }

    Task KeepAsync(VmRecord next, CancellationToken cancel)
    {
        lock (gate)
        {
            // Only what the keeper knows; a wish that came in between stays.
            next = next with { Wanted = record.Wanted };
            if (next.Equals(record)) return Task.CompletedTask;
            record = next;
        }
        return records.SaveAsync(next, cancel);
    }

    void Report(Power power, Phase phase, string tail = "", string problem = "", bool final = false)
    {
        var next = new VmReport
        {
            Id = Id,
            Power = power,
            Phase = phase,
            Generation = round,
            Restarts = record.RestartsDone,
            ConsoleTail = tail,
            Problem = problem,
            ProblemFinal = final,
        };
        if (relay is not null) (next.SshHost, next.SshPort) = (settings.RelayAddress.ToString(), relay.Port);
        next.HostKeys.AddRange(record.HostKeys);
        if (next.Equals(last)) return;
        last = next;
        report(next);
    }

    Task PauseAsync(TimeSpan pause, CancellationToken wait) => Task.Delay(pause, time, wait);

    static TimeSpan Pause(int failures) => TimeSpan.FromSeconds(Math.Min(Math.Pow(2, failures), LongestPause.TotalSeconds));

    static partial class Log
    {
        [LoggerMessage(410, LogLevel.Warning, "VM {Vm}: {Why}")]
        public static partial void Failed(ILogger log, string vm, string why);

        [LoggerMessage(412, LogLevel.Error, "VM {Vm}: its record could not be written: {Why}")]
        public static partial void NotWritten(ILogger log, string vm, string why);

        [LoggerMessage(411, LogLevel.Error, "VM {Vm}: unexpected")]
        public static partial void Threw(ILogger log, string vm, Exception error);
    }
}
