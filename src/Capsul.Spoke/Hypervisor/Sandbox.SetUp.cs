using System.Security.Cryptography;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Sets up the inside of the sandbox: folders, configuration, devices.</summary>
public sealed partial class Sandbox
{
    /// <summary>
    /// Everything under libvirt's usual paths is private, and lies in the data folder.
    /// </summary>
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
        await Inside("sh", ["-ec", NewRoot, "sh", record.Run, .. folders.SelectMany(f => new[] { f.Host, f.Inside })])
            .RunAsync(cancel);
        await Inside("ip", "link", "set", "lo", "up").RunAsync(cancel);
        await GiveKvmAsync(cancel);
    }

    /// <summary>
    /// A root of its own for the daemons and QEMU: of the machine there are only its programs, the few files of /etc
    /// that they read, and the devices that guests use. The first argument is the run folder, which is /run/libvirt
    /// inside, so that the daemons' sockets are seen from outside and nothing else of /run is seen from inside (D-Bus,
    /// locks); the others are pairs of a folder and where it is mounted. The old root is gone at the end
    /// (pivot_root(8)).
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
    /// QEMU does not run as root, and /dev/kvm is often root's alone. With KVM the sandbox gets a node of its own with
    /// a group that QEMU is in. Without, an empty file that only root may open lies over it: libvirt looks at QEMU
    /// again, which takes seconds, whenever what it finds there does not fit what QEMU said of KVM the last time.
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
    /// Configuration of the private daemons. Written each time, except for the host's id, which must stay.
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
        // Files are given to QEMU's user when they are made, so libvirt need not change owners at each start and stop.
        // Namespaces of libvirt's would be a second sandbox in this one; control groups are made by GuestGroups.
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
