using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>
/// A file system of its own that can be full and have room again. It is in memory; its size limits what it may contain,
/// and filling it only lowers that limit.
/// </summary>
public sealed class SmallDisk : IAsyncDisposable
{
    const int RoomMb = 512;

    SmallDisk(string folder) => Folder = folder;

    public string Folder { get; }

    public static async Task<SmallDisk> MountAsync(string name)
    {
        var disk = new SmallDisk(TestFolder.Make(name));
        await new Command("mount", "-t", "tmpfs", "-o", $"size={RoomMb}m,mode=0755", "tmpfs", disk.Folder)
            .RunAsync(TestContext.Current.CancellationToken);
        return disk;
    }

    /// <summary>Leaves this much room, KiB. Repeated if something was written in between.</summary>
    public Task FillAsync(int leaveKb = 0) => Until.TrueAsync("the disk is full", TimeSpan.FromSeconds(20), async () =>
    {
        var drive = new DriveInfo(Folder);
        var used = (drive.TotalSize - drive.AvailableFreeSpace) / 1024;
        return await ResizeAsync($"{used + leaveKb}k") && new DriveInfo(Folder).AvailableFreeSpace <= leaveKb * 1024L;
    });

    public async Task FreeAsync() => (await ResizeAsync($"{RoomMb}m")).ShouldBeTrue();

    async Task<bool> ResizeAsync(string size) => (await new Command("mount", "-o", $"remount,size={size}", Folder)
        .TryRunAsync(TestContext.Current.CancellationToken)).ExitCode == 0;

    public async ValueTask DisposeAsync() =>
        await new Command("umount", "-l", Folder).RunAsync(CancellationToken.None);
}
