using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Capsul.Foundation;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Private mode: Capsul's own libvirtd, in its own network, mount and process namespace, so that the machine's network,
/// firewall and libvirt are not changed, and several Capsuls can run on one machine. The namespaces are held by a small
/// init (tini) that is not a child of the Spoke: VMs keep running when the Spoke exits, crashes or is upgraded, and the
/// next start finds the sandbox again by its process ID and start time. Killing that init ends the sandbox: the kernel
/// kills everything else in it.
/// </summary>
public sealed partial class Sandbox : IDisposable
{
    /// <summary>
    /// Where the sandbox's libvirtd and QEMU find Capsul's files, regardless of the permissions of the folders outside.
    /// </summary>
    public const string DisksInside = "/var/lib/libvirt/capsul/disks", SeedsInside = "/var/lib/libvirt/capsul/seeds",
        ConsolesInside = "/var/lib/libvirt/capsul/consoles", ImagesInside = "/var/lib/libvirt/capsul/images";

    /// <summary>Of a program inside; daemons and the namespaces take longer on a machine that is very busy.</summary>
    static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(10), StartLimit = TimeSpan.FromMinutes(1);

    /// <summary>oom_score_adj of the guests (proc(5)); everything else has 0.</summary>
    const string GuestOomScore = "300";

    Record record;
    readonly SafeFileHandle network;

    /// <summary>
    /// What is stored to find the sandbox again. Ticks: start time of the process since boot, as in /proc/PID/stat.
    /// </summary>
    sealed record Record(int Pid, ulong Ticks, string Run, bool Kvm, bool Ready);

    Sandbox(Record record)
    {
        this.record = record;
        network = File.OpenHandle($"/proc/{record.Pid}/ns/net");
    }

    /// <summary>Process ID of the init that holds the namespaces.</summary>
    public int Pid => record.Pid;

    /// <summary>The daemon's libvirt URI, reachable from outside.</summary>
    public string Uri => $"qemu+unix:///system?socket={record.Run}/libvirt-sock";

    /// <summary>The folder of its sockets and its helpers' files; gone after a reboot.</summary>
    internal string RunFolderInUse => record.Run;

    static string RecordFile(Settings settings) => Path.Combine(settings.Data, "spoke", "sandbox.json");

    /// <summary>Short, because a unix socket's path has at most 107 characters; one per data folder.</summary>
    internal static string RunFolder(Settings settings) =>
        $"/run/capsul/{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(settings.Data)).AsSpan(0, 4))}";

    /// <summary>
    /// Finds the sandbox of this data folder, or creates it. Its daemons are running when this returns.
    /// </summary>
    /// <param name="kvm">Whether guests may use KVM, for a new sandbox.</param>
    /// <exception cref="ProblemException">Unavailable: not root, or a program is missing or fails.</exception>
    public static async Task<Sandbox> OpenAsync(
        Settings settings, bool kvm, TimeProvider time, ILogger log, CancellationToken cancel)
    {
        if (!Environment.IsPrivilegedProcess)
            throw new ProblemException(ProblemKind.Unavailable,
                "Running VMs in private mode needs root: start Capsul under sudo, or set CAPSUL_LIBVIRT to "
                + "a libvirt that you have access to.");
        if (Find(settings) is { Ready: true } found)
        {
            var old = new Sandbox(found);
            Log.FoundSandbox(log, found.Pid);
            await old.EnsureDaemonsAsync(time, cancel);
            return old;
        }
        await StopAsync(settings, time, cancel);
        var run = RunFolder(settings);
        Directory.CreateDirectory(run, (UnixFileMode)0b111_000_000);
        var pid = await HoldAsync(run, time, cancel);
        // Written twice: after a crash in between, the sandbox is found and ended, but never used.
        var half = new Record(pid, Ticks(pid) ?? 0, run, kvm, Ready: false);
        await WriteAsync(settings, half, cancel);
        var sandbox = new Sandbox(half);
        await sandbox.SetUpAsync(settings, cancel);
        await sandbox.EnsureDaemonsAsync(time, cancel);
        await WriteAsync(settings, half with { Ready = true }, cancel);
        Log.MadeSandbox(log, pid);
        return sandbox;
    }

    /// <summary>
    /// The running sandbox of this data folder, for a process that only needs its network; null if there is none.
    /// </summary>
    public static Sandbox? Attach(Settings settings) => Find(settings) is { } found ? new Sandbox(found) : null;

    public bool IsAlive => Ticks(Pid) == record.Ticks;

    /// <summary>Whether a sandbox of this data folder is running.</summary>
    public static bool IsRunning(Settings settings) => Find(settings) is not null;

    /// <summary>
    /// Ends the sandbox and all VMs in it immediately: no process, mount or file in /run remains. Quick if there is
    /// none.
    /// </summary>
    public static async Task StopAsync(Settings settings, TimeProvider time, CancellationToken cancel)
    {
        if (Find(settings) is { } found)
        {
            _ = kill(found.Pid, SigKill);
            for (var i = 0; Ticks(found.Pid) == found.Ticks && i < 500; i++)
                await Task.Delay(TimeSpan.FromMilliseconds(20), time, cancel);
        }
        await Vms.RelayServer.StopAsync(settings, time, cancel);
        File.Delete(RecordFile(settings));
        new GuestGroups("/sys/fs/cgroup", DataFolder.ShortName(settings.Data), NullLogger.Instance).RemoveAll();
        var run = RunFolder(settings);
        await WayOut.RemoveAsync(run, cancel);
        if (Directory.Exists(run)) Directory.Delete(run, recursive: true);
    }

    /// <summary>A program inside all the sandbox's namespaces.</summary>
    public Command Inside(string program, params string[] arguments) =>
        new("nsenter", ["-t", Pid.ToString(), "-n", "-m", "-p", "--", program, .. arguments]) { Timeout = StepLimit };

    /// <summary>Starts virtlogd and libvirtd if they are not running. VMs are not affected.</summary>
    /// <exception cref="ProblemException">Unavailable: the sandbox has exited, or a daemon does not start.</exception>
    public async Task EnsureDaemonsAsync(TimeProvider time, CancellationToken cancel)
    {
        if (!IsAlive)
            throw new ProblemException(ProblemKind.Unavailable,
                "The VM sandbox has exited; restart the Spoke to create a new one.");
        foreach (var (daemon, socket) in ((string, string)[])[("virtlogd", "virtlogd-sock"),
            ("libvirtd", "libvirt-sock")])
        {
            if (await ListensAsync(Path.Combine(record.Run, socket), cancel)) continue;
            // When memory runs out the kernel kills a guest before the Hub or the database; QEMU inherits this from the
            // daemons.
            var start = Inside("choom", "-n", GuestOomScore, "--", daemon, "-d", "-p", $"/run/libvirt/{daemon}.pid");
            await (start with { Timeout = StartLimit }).RunAsync(cancel);
            for (var i = 0; !await ListensAsync(Path.Combine(record.Run, socket), cancel); i++)
            {
                if (i == 200)
                    throw new ProblemException(ProblemKind.Unavailable,
                        $"{daemon} was started but is not listening.", Path.Combine(record.Run, socket));
                await Task.Delay(TimeSpan.FromMilliseconds(25), time, cancel);
            }
        }
    }

    /// <summary>Changes whether guests that start from now on use KVM. Running ones are not affected.</summary>
    public async Task UseKvmAsync(Settings settings, bool kvm, CancellationToken cancel)
    {
        if (record.Kvm == kvm) return;
        await Inside("umount", "/dev/kvm").TryRunAsync(cancel);
        record = record with { Kvm = kvm };
        await GiveKvmAsync(cancel);
        await WriteAsync(settings, record, cancel);
    }

    /// <summary>
    /// A TCP socket in the sandbox's network. A socket keeps the namespace it was created in; the thread that created
    /// it ends.
    /// </summary>
    public Task<Socket> OpenSocketAsync(SocketType type = SocketType.Stream)
    {
        var done = new TaskCompletionSource<Socket>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                if (setns(network, CloneNewNet) != 0)
                    throw new IOException($"setns: error {Marshal.GetLastPInvokeError()}");
                done.SetResult(new Socket(AddressFamily.InterNetwork, type,
                    type == SocketType.Dgram ? ProtocolType.Udp : ProtocolType.Tcp));
            }
            catch (Exception error) when (error is IOException or SocketException or ObjectDisposedException)
            {
                done.SetException(error);
            }
        })
        { IsBackground = true, Name = "sandbox socket" }.Start();
        return done.Task;
    }

    /// <summary>A UDP socket inside that is connected to a VM, and that no VM's firewall stops.</summary>
    /// <exception cref="SocketException">It cannot be opened.</exception>
    internal async Task<Socket> DialUdpAsync(IPAddress address, int port) =>
        Connect(await OpenSocketAsync(SocketType.Dgram), address, port);

    internal static Socket Connect(Socket socket, IPAddress address, int port)
    {
        try
        {
            Mark(socket);
            socket.Connect(address, port);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Marks a connection as the host's own: no VM's firewall stops it.</summary>
    internal static void Mark(Socket socket)
    {
        const int SocketLevel = 1, MarkOption = 36; // SOL_SOCKET and SO_MARK of asm-generic/socket.h
        if (Environment.IsPrivilegedProcess)
            socket.SetRawSocketOption(SocketLevel, MarkOption, BitConverter.GetBytes(FilterTable.Mark));
    }

    /// <summary>Releases the sandbox; it keeps running.</summary>
    public void Dispose() => network.Dispose();

    static Record? Find(Settings settings)
    {
        var file = RecordFile(settings);
        if (!File.Exists(file)) return null;
        try
        {
            var kept = JsonSerializer.Deserialize<Record>(File.ReadAllText(file));
            return kept is not null && Ticks(kept.Pid) == kept.Ticks ? kept : null;
        }
        catch (JsonException)
        {
            // Truncated by a crash. Without the record the sandbox cannot be found.
            return null;
        }
    }

    static async Task WriteAsync(Settings settings, Record kept, CancellationToken cancel)
    {
        var file = RecordFile(settings);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        await DataFolder.WriteWholeAsync(file, JsonSerializer.SerializeToUtf8Bytes(kept), cancel);
    }

    /// <summary>Starts the init that holds the namespaces, detached from this process.</summary>
    static async Task<int> HoldAsync(string run, TimeProvider time, CancellationToken cancel)
    {
        var pidFile = Path.Combine(run, "holder.pid");
        // start-stop-daemon (part of dpkg) detaches: its own session, no standard streams, so that it outlives this
        // process.
        await new Command("start-stop-daemon", "--start", "--background",
            "--make-pidfile", "--pidfile", pidFile, "--startas", "/usr/bin/unshare", "--",
            "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private",
            "--", "tini", "-s", "--", "sleep", "infinity")
        { Timeout = StartLimit }.RunAsync(cancel);
        for (var i = 0; i < 250; i++)
        {
            if (File.Exists(pidFile)
                && int.TryParse((await File.ReadAllTextAsync(pidFile, cancel)).Trim(), out var holder)
                && await TextAsync($"/proc/{holder}/task/{holder}/children", cancel) is { Length: > 0 } children
                && int.TryParse(children.Split(' ')[0], out var pid)
                && await TextAsync($"/proc/{pid}/comm", cancel) == "tini")
                return pid;
            await Task.Delay(TimeSpan.FromMilliseconds(20), time, cancel);
        }
        throw new ProblemException(
            ProblemKind.Unavailable, "The sandbox for VMs could not be started; are tini and util-linux installed?");
    }

    static async Task<string> TextAsync(string file, CancellationToken cancel)
    {
        try
        {
            return (await File.ReadAllTextAsync(file, cancel)).Trim();
        }
        catch (IOException)
        {
            return ""; // The process has exited, or has not started yet.
        }
    }

    static async Task<bool> ListensAsync(string path, CancellationToken cancel)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Field 22 of /proc/PID/stat; null if there is no such process or it has exited.</summary>
    internal static ulong? Ticks(int pid)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : ulong.Parse(fields[19]);
        }
        catch (IOException)
        {
            return null;
        }
    }

    const int CloneNewNet = 0x40000000;
    const int SigKill = 9;

    [LibraryImport("libc", SetLastError = true)] private static partial int setns(SafeFileHandle space, int type);
    [LibraryImport("libc", SetLastError = true)] private static partial int kill(int pid, int signal);
}
