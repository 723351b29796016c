using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// Brings one VM to its wanted state. Level-triggered: each round compares wanted with observed state, does the next
/// step, and returns when to check again, so that repeated messages, crashes and missed events do no harm. A round
/// never waits for a guest: state between rounds is in <see cref="Progress"/>, state that must outlive the Spoke is in
/// the <see cref="VmRecord"/>. Failures are reported and retried with exponential backoff (1 s to 30 s; 5 min if only a
/// person can help). An unknown state is reported as unknown, and nothing is done. The result of a call is never taken
/// for the state: the next round checks.
/// </summary>
public sealed partial class VmReconciler(
    VmRecord record, IHypervisor hypervisor, VmRecords records,
    IRelays relays, Func<ITransfers?> transfers, Action<VmReport> report, TimeProvider time, ILogger log)
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(30), StopPoll = TimeSpan.FromMilliseconds(100),
        TakeOverPoll = TimeSpan.FromSeconds(2);
    static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(5),
        LongestPause = TimeSpan.FromSeconds(30), FinalPause = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How late a guest may obey a request to shut down that has been withdrawn since: a slow guest, a hypervisor that
    /// hung.
    /// </summary>
    static readonly TimeSpan LateAnswer = TimeSpan.FromMinutes(2);

    /// <summary>State between rounds. None of it need outlive the Spoke.</summary>
    /// <param name="SeenOn">This Spoke has completed a start of the VM, or made sure that an earlier one was
    /// complete.</param>
    /// <param name="StopUntil">When a guest that is shutting down is turned off; null if it is not shutting
    /// down.</param>
    /// <param name="NextAsk">When it is asked again: in its first seconds a guest ignores the power button.</param>
    /// <param name="Failures">Failed rounds in a row.</param>
    /// <param name="Resumes">How often in a row it was let go on and was paused again soon.</param>
    /// <param name="NextResume">When it may be let go on.</param>
    /// <param name="TakeOverEnded">It was a foreign machine, and is Capsul's for good.</param>
    /// <param name="Boot">What it was started from; null: it has to be asked for.</param>
    /// <param name="DroppedFor">What it was started from when there were no other disks.</param>
    sealed record Progress(
        bool SeenOn = false, DateTimeOffset? StopUntil = null, DateTimeOffset NextAsk = default, int Failures = 0,
        int Resumes = 0, DateTimeOffset NextResume = default, bool TakeOverEnded = false,
        VmBoot? Boot = null, VmBoot? DroppedFor = null);

    /// <summary>
    /// Woken when something may have changed; urgent when something has, so that even a failed round is retried now.
    /// </summary>
    readonly Signal wake = new(), urgent = new();
    readonly Lock gate = new();
    readonly RecordWriter writer = new(record, records, log);
    readonly SshReadiness ssh = new(hypervisor, time,
        needsKeys: record.Wanted.ImageId != Protocol.AdoptedImage);
    VmReport last = new() { Id = record.Wanted.Id };
    Progress progress = new();
    int sshPort;
    bool ended;

    public string Id { get; } = record.Wanted.Id;

    /// <summary>What is on disk of it, or will be.</summary>
    public VmRecord Record => writer.Current;

    /// <summary>The last report.</summary>
    public VmReport Last => last;

    /// <summary>
    /// Accepts a new wanted state; one with an older (epoch, generation) is ignored. It is on disk before this returns,
    /// unless the disk is full. False: this VM is gone and its reconciler has ended; the caller needs a new one.
    /// </summary>
    public bool Want(long epoch, WantedVm wanted)
    {
        lock (gate)
        {
            if (ended) return false;
            var known = writer.Current;
            if (!known.IsOlderThan(epoch, wanted.Generation) && !known.LacksFirewallOf(epoch, wanted)) return true;
            // Keeps the address if a later message, about a VM that is being deleted, no longer has it.
            if (wanted.Address.Length == 0)
                (wanted.Address, wanted.Mac, wanted.Address6) =
                    (known.Wanted.Address, known.Wanted.Mac, known.Wanted.Address6);
            writer.Change(r => r.Answering(epoch, wanted));
        }
        LookNow();
        return true;
    }

    /// <summary>Writes the record for the first time.</summary>
    public void WriteDown() => writer.Flush();

    /// <summary>
    /// Requests a round because something may have changed. A failed VM keeps its backoff: a failing start causes
    /// events itself.
    /// </summary>
    public void Look() => wake.Set();

    /// <summary>Requests a round immediately, even if the last one failed.</summary>
    public void LookNow()
    {
        urgent.Set();
        wake.Set();
    }

    /// <summary>Whether a round was requested since the last one.</summary>
    public bool TakeLook() => Awaited.Take();

    Signal Awaited => progress.Failures > 0 ? urgent : wake;

    /// <summary>Runs until canceled, or until a VM that is wanted gone is gone.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        while (await RoundAsync(cancel) is { } pause)
            await Awaited.WaitAsync(pause, time, cancel);
        await relays.CloseAsync(Id, cancel);
    }

    /// <summary>
    /// One round. Returns the maximum time until the next; null when the VM was wanted gone and nothing is left of it.
    /// </summary>
    public async Task<TimeSpan?> RoundAsync(CancellationToken cancel)
    {
        var current = writer.Current;
        try
        {
            var pause = await ConvergeAsync(current, cancel);
            progress = progress with { Failures = 0 };
            return pause is null && !End(current) ? TimeSpan.Zero : pause;
        }
        catch (HypervisorException error)
        {
            Log.Failed(log, Id, error.Message);
            await ReportProblemAsync(current, error, cancel);
            var pause = NextPause();
            return error.Final ? FinalPause : pause;
        }
        catch (Exception error) when (!cancel.IsCancellationRequested)
        {
            // A bug. One VM's failure must not affect the others.
            Log.Threw(log, Id, error);
            Report(current, last.Power, last.Phase, problem:
                "The host has an internal problem with this VM; see the Spoke's log.", paused: last.Paused);
            return NextPause();
        }
    }

    /// <summary>Ends the reconciler, unless a newer wanted state arrived during the last round.</summary>
    bool End(VmRecord answered)
    {
        lock (gate)
        {
            if (!ReferenceEquals(writer.Current, answered)) return false;
            writer.Delete();
            return ended = true;
        }
    }

    TimeSpan NextPause()
    {
        var pause = Backoff(progress.Failures);
        progress = progress with { Failures = progress.Failures + 1 };
        return pause;
    }

    async Task<TimeSpan?> ConvergeAsync(VmRecord current, CancellationToken cancel)
    {
        if (current.IsOutdated && !IsDeletion(current.Wanted)) return await RefuseAsync(current, cancel);
        await EndTransferAsync(current, cancel);
        await EndTakeOverAsync(current, cancel);
        switch (current.Wanted.Power)
        {
            case Power.Gone:
                return await RemoveAsync(current, cancel);
            case Power.Off:
                return await TurnOffAsync(current, cancel);
            case Power.On:
                return await TurnOnAsync(current, cancel);
            default:
                return LookAgain;
        }
    }

    async Task<TimeSpan?> RemoveAsync(VmRecord current, CancellationToken cancel)
    {
        await relays.CloseAsync(Id, cancel);
        await hypervisor.RemoveAsync(Id, cancel);
        // The address is reused after this report, so check again that the VM is gone.
        if (await hypervisor.FindAsync(Id, cancel) is not null)
            throw new HypervisorException(
                $"The hypervisor reported that {Id} was removed, but it still exists.", final: false);
        Report(current, Power.Gone, Phase.None);
        return null;
    }

    async Task<TimeSpan?> TurnOffAsync(VmRecord current, CancellationToken cancel)
    {
        progress = progress with { SeenOn = false };
        switch (await hypervisor.FindAsync(Id, cancel))
        {
            case DomainPower.Unknown:
                Report(current, Power.Unknown, last.Phase);
                return LookAgain;
            case DomainPower.On:
                return await ShutDownAsync(current, cancel);
            case DomainPower.Paused:
                return await ShutDownPausedAsync(current, cancel);
            default:
                progress = progress with { StopUntil = null, Boot = null };
                ssh.Reset();
                await relays.CloseAsync(Id, cancel);
                await DropOldDisksAsync(current, cancel);
                if (current.Wanted.Transfer is not null) return await TransferAsync(current, cancel);
                Report(current, Power.Off, Phase.None);
                return LookAgain;
        }
    }

    /// <summary>
    /// Asks the guest to shut down, and turns it off after the grace period. The next round checks whether it is off.
    /// </summary>
    async Task<TimeSpan?> ShutDownAsync(VmRecord current, CancellationToken cancel, bool paused = false)
    {
        var now = time.GetUtcNow();
        if (progress.StopUntil is null)
        {
            Report(current, Power.On, last.Phase, paused: paused);
            progress = progress with
            {
                StopUntil = now + TimeSpan.FromSeconds(current.Wanted.StopGraceSeconds),
                NextAsk = now,
            };
        }
        if (now >= progress.StopUntil)
        {
            await hypervisor.TurnOffAsync(Id, cancel);
            return StopPoll;
        }
        if (now >= progress.NextAsk)
        {
            progress = progress with { NextAsk = now + AskAgain };
            writer.Change(r => r with { AskedAt = now.ToUnixTimeSeconds() });
            await hypervisor.ShutdownAsync(Id, cancel);
        }
        return StopPoll;
    }

    async Task<TimeSpan?> TurnOnAsync(VmRecord current, CancellationToken cancel)
    {
        var restart = current.Wanted.Restarts > current.RestartsDone;
        switch (await hypervisor.FindAsync(Id, cancel))
        {
            case DomainPower.Unknown:
                Report(current, Power.Unknown, last.Phase);
                return LookAgain;
            case DomainPower.On when restart || await IsBootedOtherwiseAsync(current, cancel):
                return await ShutDownAsync(current, cancel);
            case DomainPower.Paused when restart || await IsBootedOtherwiseAsync(current, cancel):
                return await ShutDownPausedAsync(current, cancel);
            case DomainPower.On:
                return await KeepOnAsync(current, cancel);
            case DomainPower.Paused:
                return await HoldAsync(current, cancel);
            default:
                // Off now: the first half of a restart is done. If the Spoke crashes here, the second half is an
                // ordinary start.
                if (restart)
                    current = writer.Change(
                        r => r with { RestartsDone = Math.Max(r.RestartsDone, current.Wanted.Restarts) });
                progress = progress with { StopUntil = null, SeenOn = false, Boot = null };
                ssh.Reset();
                return await StoppedItselfAsync(current, cancel)
                    ? await LeaveOffAsync(current, cancel)
                    : await StartAsync(current, cancel);
        }
    }

    async Task<TimeSpan?> KeepOnAsync(VmRecord current, CancellationToken cancel)
    {
        progress = progress with { StopUntil = null };
        if (!progress.SeenOn)
        {
            // This Spoke process did not start it: the previous one may have been killed half way, with the machine on
            // but its address not served yet. The verb completes what is missing.
            await hypervisor.StartAsync(current.Spec, cancel);
            progress = progress with { SeenOn = true };
        }
        if (!hypervisor.IsGuarded(current.Spec)) await hypervisor.GuardAsync(current.Spec, cancel);
        current = writer.Change(r => r with { RanUnder = Math.Max(r.RanUnder, current.Wanted.Generation) });
        sshPort = await relays.OpenAsync(Id, current.SshPort, IPAddress.Parse(current.Wanted.Address), cancel);
        current = writer.Change(r => r with { SshPort = sshPort });
        await ForwardAsync(current, cancel);
        await DropOldDisksAsync(current, cancel);
        if (last is { Phase: Phase.Ready, Power: Power.On } && ssh.IsReady)
        {
            Report(current, Power.On, Phase.Ready, problem: portProblem);
            return LookAgain;
        }
        return await AwaitSshAsync(current, cancel);
    }

    async Task<TimeSpan?> AwaitSshAsync(VmRecord current, CancellationToken cancel)
    {
        if (last.Phase < Phase.Booting || last.Power != Power.On) Report(current, Power.On, Phase.Booting);
        var look = await ssh.LookAsync(
            Id, IPAddress.Parse(current.Wanted.Address), current.KeysOf(Rescue), cancel);
        if (look.Keys is { } keys)
        {
            current = writer.Change(r => r.Keys(Rescue, keys).Took(look.KeySet));
            Report(current, Power.On, Phase.Ready, problem: portProblem);
            return LookAgain;
        }
        Report(current, Power.On, look.Answered ? Phase.Ssh : Phase.Booting, look.Tail ?? last.ConsoleTail);
        return look.Pause;
    }

    /// <summary>
    /// It ran under the current wanted state, nothing was requested lately, and the guest shut itself down:
    /// it stays off until the wanted state changes. After a crash, or a reboot of the host, it is restarted.
    /// </summary>
    async Task<bool> StoppedItselfAsync(VmRecord current, CancellationToken cancel)
    {
        if (current.StoppedItself == current.Wanted.Generation) return true;
        var asked = (time.GetUtcNow() - DateTimeOffset.FromUnixTimeSeconds(current.AskedAt)).Duration() < LateAnswer;
        if (current.RanUnder != current.Wanted.Generation || asked
            || !await hypervisor.StoppedByGuestAsync(Id, cancel))
            return false;
        writer.Change(r => r with { StoppedItself = current.Wanted.Generation });
        return true;
    }

    async Task<TimeSpan?> LeaveOffAsync(VmRecord current, CancellationToken cancel)
    {
        await relays.CloseAsync(Id, cancel);
        Report(current, Power.Off, Phase.None, stoppedItself: true);
        return LookAgain;
    }

    async Task<TimeSpan?> StartAsync(VmRecord current, CancellationToken cancel)
    {
        var spec = current.Spec;
        // Nothing is created or started without a record on disk; keeping it on and removing do not need one. What has
        // run is tried until there is room.
        if (!writer.Flush()) throw new HypervisorException("The host's disk is full.", final: !spec.HasRun);
        if (!await IsTakenOverAsync(current, cancel)) return TakeOverPoll;
        progress = progress with { DroppedFor = null };
        await hypervisor.MakeDiskAsync(spec, cancel);
        Report(current, Power.Off, Phase.Disk);
        await hypervisor.DefineAsync(spec, cancel);
        Report(current, Power.Off, Phase.Defined);
        // On disk before: whoever takes a disk back to another host must know whether this one was used.
        current = writer.Change(r => r with { Started = true });
        if (!writer.Flush()) throw new HypervisorException("The host's disk is full.", final: !spec.HasRun);
        await hypervisor.StartAsync(spec, cancel);
        progress = progress with { SeenOn = true };
        return TimeSpan.Zero;
    }

    static partial class Log
    {
        [LoggerMessage(410, LogLevel.Warning, "VM {Vm}: {Why}")]
        public static partial void Failed(ILogger log, string vm, string why);

        [LoggerMessage(411, LogLevel.Error, "VM {Vm}: unexpected error")]
        public static partial void Threw(ILogger log, string vm, Exception error);
    }
}
