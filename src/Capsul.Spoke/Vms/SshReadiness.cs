using System.Net;
using System.Net.Sockets;
using System.Text;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>The result of one check of a booting guest.</summary>
/// <param name="Answered">An SSH server responds on port 22.</param>
/// <param name="Keys">The host keys, once SSH responds and they are known; null before.</param>
/// <param name="Tail">The end of the console, at intervals; null in between.</param>
/// <param name="Pause">Time until the next check.</param>
/// <param name="KeySet">With the host keys: the key set that the guest has said to have; 0: none.</param>
public sealed record SshLook(
    bool Answered, IReadOnlyList<SshHostKey>? Keys, string? Tail, TimeSpan Pause, long KeySet = 0);

/// <summary>
/// Watches a guest boot until SSH responds and its host keys were read over the serial console, a path that the network
/// cannot forge. The console is checked often and the network rarely: dialing a guest that is not up yet leaves an
/// unanswered ARP request in the kernel, which makes the next attempt slower. Dialing continues between checks, so that
/// no check waits for it.
/// </summary>
/// <param name="hypervisor">Has the console, and dials.</param>
/// <param name="time">The clock.</param>
/// <param name="needsKeys">Without, a guest is ready when SSH responds: one that Capsul did not make may never print
/// its keys. They are reported if it does.</param>
public sealed class SshReadiness(IHypervisor hypervisor, TimeProvider time, bool needsKeys = true)
{
    /// <summary>
    /// How much of the console is searched for host keys, bytes: cloud-init prints them near the end of the boot.
    /// </summary>
    public const int ConsoleBytes = 256 << 10;

    static readonly TimeSpan Often = TimeSpan.FromMilliseconds(100),
        BannerLimit = TimeSpan.FromSeconds(2), TailEvery = TimeSpan.FromSeconds(3);
    /// <summary>
    /// A guest that is not up after this time may never be (its owner may have closed the port): it is checked less
    /// often.
    /// </summary>
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    /// <summary>
    /// A guest that prints a lot pushes its keys out of the part that is searched; after this time, those of an earlier
    /// boot are used.
    /// </summary>
    static readonly TimeSpan KeysLimit = TimeSpan.FromSeconds(10);

    /// <param name="Late">The dial that goes on was begun when the keys were there.</param>
    sealed record Boot(DateTimeOffset Began, DateTimeOffset NextDial, DateTimeOffset NextTail,
        DateTimeOffset? AnsweredAt, Task<bool>? Dial, bool Late);

    Boot? boot;

    /// <summary>SSH responded and the keys were found since the last reset.</summary>
    public bool IsReady { get; private set; }

    /// <summary>The guest is off; start over with the next boot.</summary>
    public void Reset() => (boot, IsReady) = (null, false);

    /// <param name="id">The VM.</param>
    /// <param name="address">Its address.</param>
    /// <param name="earlier">Host keys of an earlier boot.</param>
    public async Task<SshLook> LookAsync(
        string id, IPAddress address, IReadOnlyList<SshHostKey> earlier, CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        boot ??= new Boot(now, now, now + TailEvery, null, null, Late: false);
        var console = await hypervisor.ConsoleTailAsync(id, ConsoleBytes, cancel);
        var keys = ConsoleText.HostKeys(console);
        await DialAsync(address, keys.Count > 0, cancel);
        if (keys.Count == 0 && boot.AnsweredAt is { } at && now - at > KeysLimit) keys = earlier;
        if (boot.AnsweredAt is not null && (keys.Count > 0 || !needsKeys))
        {
            IsReady = true;
            return new SshLook(true, keys, null, TimeSpan.Zero, ConsoleText.KeySet(console));
        }
        string? tail = null;
        if (now >= boot.NextTail)
        {
            tail = ConsoleText.Tail(console, Protocol.ConsoleTailBytes);
            boot = boot with { NextTail = now + TailEvery };
        }
        return new SshLook(boot.AnsweredAt is not null, null, tail, now - boot.Began < Patience ? Often : BannerLimit);
    }

    /// <summary>
    /// Takes the answer of a dial that has ended, and begins one when it is due. With the keys on the console SSH is
    /// up: a dial of before may wait a second and more until TCP repeats what the guest did not hear, and a new one is
    /// answered at once; the old one ends by itself.
    /// </summary>
    async Task DialAsync(IPAddress address, bool keysAreThere, CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        await TakeAnswerAsync(now);
        var free = boot!.Dial is null || keysAreThere && !boot.Late;
        if (boot.AnsweredAt is not null || !free || !keysAreThere && now < boot.NextDial) return;
        var dial = HasBannerAsync(address, cancel);
        boot = boot with { NextDial = now + BannerLimit, Dial = dial, Late = keysAreThere };
        await TakeAnswerAsync(now);
    }

    async Task TakeAnswerAsync(DateTimeOffset now)
    {
        if (boot!.Dial is not { IsCompleted: true } dial) return;
        boot = boot with { Dial = null, AnsweredAt = await dial ? now : boot.AnsweredAt };
    }

    /// <summary>
    /// Whether an SSH server responds on port 22 (RFC 4253, 4.2: the server's first line begins with SSH-).
    /// </summary>
    async Task<bool> HasBannerAsync(IPAddress address, CancellationToken cancel)
    {
        using var late = new CancellationTokenSource(BannerLimit, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel, late.Token);
        try
        {
            await using var stream = await hypervisor.DialAsync(address, 22, limit.Token);
            var start = new byte[4];
            await stream.ReadExactlyAsync(start, limit.Token);
            return Encoding.ASCII.GetString(start) == "SSH-";
        }
        catch (Exception error)
            when (error is IOException or SocketException or HypervisorException or OperationCanceledException)
        {
            return false;
        }
    }
}
