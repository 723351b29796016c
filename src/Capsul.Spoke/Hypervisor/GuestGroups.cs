using System.Globalization;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// A control group per VM: CPU time in proportion to its virtual CPUs under contention, an equal share of disk I/O, and
/// a limit on QEMU's memory including its overhead. Works with both versions of control groups (kernel documentation,
/// cgroup-v1 and cgroup-v2), with whichever controllers are available. libvirt's own are not used: they prevented all
/// VMs from starting on a machine that mounts both versions, and its memory limit also sets the limit of locked memory,
/// which a container may not do. A machine without control groups still runs VMs, and logs a warning once.
/// </summary>
/// <param name="root">The mount point of control groups.</param>
/// <param name="data">Identifies the data folder: several Capsuls may run on one machine.</param>
sealed partial class GuestGroups(string root, string data, ILogger log)
{
    /// <summary>Devices, buffers, and with TCG the translated code (1 GiB by default).</summary>
    const int OverheadMb = 1536;
    const string Processes = "cgroup.procs";

    /// <summary>Controllers of version 1: folder, file, and the value for a VM.</summary>
    static readonly (string Controller, string File, Func<VmSpec, long> Value)[] First =
    [
        ("cpu", "cpu.shares", vm => vm.Vcpus * 1024L),
        ("memory", "memory.limit_in_bytes", vm => MemoryBytes(vm)),
        ("blkio", "blkio.bfq.weight", _ => 100),
    ];

    /// <summary>Files of version 2.</summary>
    static readonly (string File, Func<VmSpec, long> Value)[] Second =
    [
        ("cpu.weight", vm => Math.Min(vm.Vcpus * 100L, 10_000)),
        ("memory.max", vm => MemoryBytes(vm)),
        ("io.weight", _ => 100),
    ];

    bool told;

    static long MemoryBytes(VmSpec vm) => (long)(vm.MemoryMb + OverheadMb) << 20;

    string Name => $"capsul-{data}";

    bool IsSecond => File.Exists(Path.Combine(root, "cgroup.controllers"));

    /// <summary>Puts a VM's process into its group, which is created if it is missing.</summary>
    public void Put(VmSpec vm, int process)
    {
        var put = IsSecond ? PutSecond(vm, process) : First.Count(c => PutFirst(vm, process, c));
        if (put > 0 || told) return;
        told = true;
        Log.NoGroups(log, root);
    }

    bool PutFirst(VmSpec vm, int process, (string Controller, string File, Func<VmSpec, long> Value) c)
    {
        var folder = Path.Combine(root, c.Controller, Name, vm.Id);
        return Directory.Exists(Path.Combine(root, c.Controller)) && Make(folder)
            && Write(folder, c.File, c.Value(vm)) && Write(folder, Processes, process);
    }

    int PutSecond(VmSpec vm, int process)
    {
        var parent = Path.Combine(root, Name);
        if (!Make(parent)) return 0;
        foreach (var controller in (string[])["+cpu", "+memory", "+io"])
        {
            Write(root, "cgroup.subtree_control", controller);
            Write(parent, "cgroup.subtree_control", controller);
        }
        var folder = Path.Combine(parent, vm.Id);
        return Make(folder)
            ? Second.Count(f => Write(folder, f.File, f.Value(vm))) + (Write(folder, Processes, process) ? 1 : 0)
            : 0;
    }

    /// <summary>
    /// Removes a VM's group after its process has exited. What cannot be removed yet (the kernel is not finished) is
    /// removed the next time.
    /// </summary>
    public void Remove(string id) => Remove(folder => Path.Combine(folder, Name, id));

    /// <summary>Removes all groups of this data folder.</summary>
    public void RemoveAll()
    {
        foreach (var parent in Parents().Select(p => Path.Combine(p, Name)).Where(Directory.Exists))
        {
            foreach (var folder in Directory.GetDirectories(parent)) TryDelete(folder);
            TryDelete(parent);
        }
    }

    void Remove(Func<string, string> folderIn)
    {
        foreach (var folder in Parents().Select(folderIn).Where(Directory.Exists)) TryDelete(folder);
    }

    IEnumerable<string> Parents() => IsSecond ? [root] : First.Select(c => Path.Combine(root, c.Controller));

    /// <summary>A group is removed with rmdir, although its folder contains files.</summary>
    static void TryDelete(string folder)
    {
        try
        {
            Directory.Delete(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Not empty yet; an empty group costs nothing.
        }
    }

    static bool Make(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    static bool Write(string folder, string file, long value) =>
        Write(folder, file, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>False if the machine lacks the controller or denies access.</summary>
    static bool Write(string folder, string file, string value)
    {
        var path = Path.Combine(folder, file);
        if (!File.Exists(path)) return file is not Processes && folder.Contains("blkio", StringComparison.Ordinal);
        try
        {
            File.WriteAllText(path, value);
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    static partial class Log
    {
        [LoggerMessage(4120, LogLevel.Warning,
            "VMs run without resource limits: control groups cannot be created below {Root}")]
        public static partial void NoGroups(ILogger log, string root);
    }
}
