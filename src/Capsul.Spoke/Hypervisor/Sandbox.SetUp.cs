using System.Security.Cryptography;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Sets up the inside of the sandbox: folders, configuration, devices.</summary>
public sealed partial class Sandbox
{
    /// <summary>Everything under libvirt's usual paths is private, and stored in the data folder.</summary>
    async Task SetUpAsync(Settings settings, CancellationToken cancel)
    {
        var spoke = Path.Combine(settings.Data, "spoke");
        var home = Path.Combine(spoke, "libvirt");
        (string Host, string Inside)[] folders =
        [
            (Path.Combine(home, "etc"), "/etc/libvirt"),
            (Path.Combine(home, "lib"), "/var/lib/libvirt"),
            (Path.Combine(home, "log"), "/var/log/libvirt"),
            (Path.Combine(home, "cache"), "/var/cache/libvirt"),
            (Path.Combine(spoke, "disks"), DisksInside),
            (Path.Combine(spoke, "seeds"), SeedsInside),
            (Path.Combine(spoke, "consoles"), ConsolesInside),
            (settings.Images, ImagesInside),
        ];
        foreach (var (host, inside) in folders)
        {
            Directory.CreateDirectory(host);
            File.SetUnixFileMode(host, (UnixFileMode)0b111_101_101);
            if (inside.StartsWith("/var/lib/libvirt/capsul/", StringComparison.Ordinal))
                Directory.CreateDirectory(Path.Combine(home, "lib", "capsul", Path.GetFileName(inside)));
        }
        Configure(Path.Combine(home, "etc"));
        var arguments = folders.SelectMany(f => new[] { f.Host, f.Inside });
        await (Inside("sh", ["-ec", NewRoot, "sh", record.Run, .. arguments]) with { Timeout = StartLimit })
            .RunAsync(cancel);
        await Inside("ip", "link", "set", "lo", "up").RunAsync(cancel);
        await GiveKvmAsync(cancel);
    }

    /// <summary>
    /// A separate root file system for the daemons and QEMU: it contains only the machine's programs, the few files of
    /// /etc that they read, and the devices that guests use. The first argument is the run folder, mounted as
    /// /run/libvirt inside, so that the daemons' sockets are visible from outside and nothing else of /run (D-Bus,
    /// locks) is visible inside; the others are pairs of a folder and its mount point. The old root is unmounted at the
    /// end (pivot_root(8)).
    /// </summary>
    const string NewRoot = """
        umask 022
        run=$1; shift
        mkdir -p "$run/root"
        mount -t tmpfs -o mode=0755,size=64m tmpfs "$run/root"
        cd "$run/root"
        mkdir -p usr etc dev/net dev/pts dev/shm proc sys run/libvirt old
        mkdir -p -m 1777 tmp var/tmp
        mount --bind /usr usr
        mount -o remount,bind,ro usr
        for name in bin sbin lib lib32 lib64; do
            if [ -L "/$name" ]; then cp -a "/$name" .
            elif [ -d "/$name" ]; then mkdir "$name"; mount --bind "/$name" "$name"; mount -o remount,bind,ro "$name"
            fi
        done
        for name in alternatives ethertypes group hosts ld.so.cache localtime login.defs nsswitch.conf passwd \
            protocols services; do
            if [ -e "/etc/$name" ]; then cp -a "/etc/$name" etc/; fi
        done
        for name in null zero full random urandom tty kvm net/tun vhost-net; do
            if [ -c "/dev/$name" ]; then cp -a "/dev/$name" "dev/$name"; fi
        done
        # Something to mount over, should KVM appear later.
        [ -e dev/kvm ] || install -m 0600 /dev/null dev/kvm
        ln -s /proc/self/fd dev/fd
        ln -s pts/ptmx dev/ptmx
        mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
        mount -t tmpfs -o mode=1777,size=64m tmpfs dev/shm
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount --bind "$run" run/libvirt
        while [ $# -gt 0 ]; do
            mkdir -p ".$2"
            mount --bind "$1" ".$2"
            shift 2
        done
        pivot_root . old
        umount -l /old
        rmdir /old
        """;

    /// <summary>
    /// QEMU does not run as root, and /dev/kvm is often accessible to root only. With KVM the sandbox gets its own
    /// device node, accessible to a group that QEMU is in. Without KVM, an empty file that only root may open is
    /// mounted over it: libvirt probes QEMU again, which takes seconds, whenever the device's accessibility does not
    /// match the last probe.
    /// </summary>
    async Task GiveKvmAsync(CancellationToken cancel)
    {
        if (!File.Exists("/dev/kvm")) return;
        const string source = "/run/kvm";
        await Inside("rm", "-f", source).RunAsync(cancel);
        if (record.Kvm)
        {
            await Inside("mknod", "-m", "0660", source, "c", "10", "232").RunAsync(cancel);
            await Inside("chgrp", "kvm", source).RunAsync(cancel);
        }
        else
        {
            await Inside("install", "-m", "0600", "/dev/null", source).RunAsync(cancel);
        }
        await Inside("mount", "--bind", source, "/dev/kvm").RunAsync(cancel);
    }

    /// <summary>
    /// Configuration of the private daemons. Written each time, except for the host's UUID, which must not change.
    /// </summary>
    static void Configure(string etc)
    {
        Directory.CreateDirectory(Path.Combine(etc, "qemu"));
        var id = Path.Combine(etc, "host_uuid");
        if (!File.Exists(id)) File.WriteAllText(id, new Guid(RandomNumberGenerator.GetBytes(16)).ToString());
        File.WriteAllText(Path.Combine(etc, "libvirtd.conf"), $"""
            unix_sock_group = "root"
            unix_sock_ro_perms = "0700"
            unix_sock_rw_perms = "0700"
            auth_unix_ro = "none"
            auth_unix_rw = "none"
            host_uuid = "{File.ReadAllText(id).Trim()}"

            """);
        // Files belong to QEMU's user from the beginning, so libvirt need not change owners at each start and stop.
        // libvirt's own namespaces would be a second sandbox inside this one; GuestGroups creates the control groups.
        File.WriteAllText(Path.Combine(etc, "qemu.conf"), """
            security_driver = "none"
            user = "libvirt-qemu"
            group = "libvirt-qemu"
            dynamic_ownership = 0
            remember_owner = 0
            namespaces = []
            cgroup_controllers = []

            """);
        File.WriteAllText(Path.Combine(etc, "virtlogd.conf"), "max_size = 2097152\nmax_backups = 1\n");
    }
}
