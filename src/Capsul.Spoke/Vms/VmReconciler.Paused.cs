using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>
/// A guest that the hypervisor paused because the host's disk is full. It has its memory and has lost no write, so it
/// is neither turned off nor restarted: it goes on as soon as there is room.
/// </summary>
public sealed partial class VmReconciler
{
    /// <summary>What the owner and the operator read.</summary>
    public const string OutOfSpace =
        "The host's disk is full. The capsul is paused, and goes on by itself when there is room.";

    /// <summary>Room is this part of the disk, and at most so much, MiB: guests should not fill it again at once.
    /// </summary>
    const int RoomPart = 20, MaxRoomMb = 1024;

    static readonly TimeSpan RoomPoll = TimeSpan.FromSeconds(5);

    /// <summary>A guest that was paused again within this time is let go on later each time.</summary>
    static readonly TimeSpan Again = TimeSpan.FromMinutes(2);

    async Task<TimeSpan?> HoldAsync(VmRecord current, CancellationToken cancel)
    {
        progress = progress with { StopUntil = null };
        Report(current, Power.On, last.Phase, paused: true);
        return await ResumeAsync(cancel) ? TimeSpan.Zero : RoomPoll;
    }

    /// <summary>
    /// A paused guest cannot shut down. If it cannot go on in time, it is turned off like any guest that does not
    /// react.
    /// </summary>
    async Task<TimeSpan?> ShutDownPausedAsync(VmRecord current, CancellationToken cancel)
    {
        await ResumeAsync(cancel);
        return await ShutDownAsync(current, cancel, paused: true);
    }

    /// <summary>Lets the guest go on if there is room; the next round checks whether it does.</summary>
    async Task<bool> ResumeAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        if (now < progress.NextResume) return false;
        var capacity = await hypervisor.CapacityAsync(cancel);
        if (capacity.DiskFreeMb < Math.Min(MaxRoomMb, capacity.DiskMb / RoomPart)) return false;
        var resumes = now - progress.NextResume < Again ? progress.Resumes + 1 : 0;
        progress = progress with { Resumes = resumes, NextResume = now + Backoff(resumes) };
        await hypervisor.ResumeAsync(Id, cancel);
        return true;
    }

    static TimeSpan Backoff(int times) =>
        TimeSpan.FromSeconds(Math.Min(Math.Pow(2, times), LongestPause.TotalSeconds));
}
