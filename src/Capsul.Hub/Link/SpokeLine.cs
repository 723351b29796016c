using System.Net;
using System.Net.NetworkInformation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Link;

/// <summary>
/// One connected Spoke: sends what should be whenever the host's generation grows, and takes in what is reported. Everything it
/// sends carries the epoch; everything it writes is fenced by it. It ends when the Spoke does, when another line for the same host
/// takes over, or when the seat is lost; the Spoke dials again.
/// </summary>
public sealed partial class SpokeLine(string host, long epoch, Db db, Listener listener, TimeProvider time, ILogger log)
{
    /// <summary>Longest silence between two looks at the generation, in case a notification was lost.</summary>
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(15);

    long sent = -1;

    public async Task RunAsync(IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var reading = ReadAsync(up, both.Token);
        var writing = WriteAsync(down, both.Token);
        var first = await Task.WhenAny(reading, writing);
        await both.CancelAsync();
        await Task.WhenAll(reading, writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>Takes in the hello: what the host can carry, its images, its addresses.</summary>
    public Task GreetAsync(Hello hello, CancellationToken cancel) => db.InTransactionAsync(async transaction =>
    {
        await transaction.HoldSeatAsync(epoch, cancel);
        var facts = hello.Facts;
        await transaction.ExecuteAsync(HostSql.SaveFacts, new
        {
            id = host,
            now = Now(),
            version = hello.Version,
            hypervisor = facts.Hypervisor,
            cpus = facts.Cpus,
            memoryMb = facts.MemoryMb,
            diskFreeMb = facts.DiskFreeMb,
        }, cancel);
        foreach (var image in facts.Images)
        {
            await transaction.ExecuteAsync(ImageSql.Put, new
            { id = image.Id, title = image.Title, loginUser = image.LoginUser, minDiskGb = image.MinDiskGb, minMemoryMb = image.MinMemoryMb }, cancel);
            await transaction.ExecuteAsync(ImageSql.PutOfHost, new { host, image = image.Id, sha256 = image.Sha256 }, cancel);
        }
        await transaction.ExecuteAsync(ImageSql.ClearOfHost, new { host, images = facts.Images.Select(i => i.Id).ToArray() }, cancel);
        await PutAddressesAsync(transaction, facts.Network, cancel);
        return 0;
    }, cancel);

    async Task PutAddressesAsync(NpgsqlTransaction transaction, NetworkFacts network, CancellationToken cancel)
    {
        var addresses = Addresses.Between(IPAddress.Parse(network.First), IPAddress.Parse(network.Last)).Select(a => a.ToString()).ToArray();
        if (await transaction.FindAsync<int>(AddressSql.Count, new { host, addresses }, cancel) != addresses.Length)
            await transaction.ExecuteAsync(AddressSql.Put, new { host, addresses, macs = addresses.Select(Addresses.Mac).ToArray() }, cancel);
        await transaction.ExecuteAsync(AddressSql.Drop, new { host, addresses }, cancel);
    }

    async Task ReadAsync(IAsyncStreamReader<SpokeMessage> up, CancellationToken cancel)
    {
        while (await up.MoveNext(cancel))
        {
            switch (up.Current.BodyCase)
            {
                case SpokeMessage.BodyOneofCase.Inventory:
                    foreach (var vm in up.Current.Inventory.Vms) await TakeInAsync(vm, cancel);
                    break;
                case SpokeMessage.BodyOneofCase.Vm:
                    await TakeInAsync(up.Current.Vm, cancel);
                    break;
                case SpokeMessage.BodyOneofCase.Heartbeat:
                    await TakeInAsync(up.Current.Heartbeat, cancel);
                    break;
                case SpokeMessage.BodyOneofCase.Hello:
                    await GreetAsync(up.Current.Hello, cancel);
                    break;
                case SpokeMessage.BodyOneofCase.None:
                    break;
                default:
                    throw new RpcException(new Status(StatusCode.InvalidArgument, "unknown message"));
            }
        }
    }

    async Task TakeInAsync(VmReport report, CancellationToken cancel)
    {
        var known = await db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            return await ObserveVm.RunAsync(transaction, host, report, Now(), cancel);
        }, cancel);
        if (known is null && report.Power != Power.Gone) Log.Stranger(log, host, report.Id);
    }

    async Task TakeInAsync(Heartbeat heartbeat, CancellationToken cancel)
    {
        var wasOnline = await db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            return await transaction.FindAsync<bool?>(HostSql.Heartbeat, new
            { id = host, now = Now(), answers = heartbeat.HypervisorAnswers, diskFreeMb = heartbeat.DiskFreeMb, problem = heartbeat.Problem }, cancel);
        }, cancel);
        if (wasOnline is null) throw new RpcException(new Status(StatusCode.PermissionDenied, "This host was revoked."));
        // What it holds may have been forgotten in between (HostHealth), and it only reports what changes: the next line begins with everything.
        if (wasOnline == false && heartbeat.HypervisorAnswers)
            throw new RpcException(new Status(StatusCode.Unavailable, "It was not heard of for a while and must say anew what is there."));
    }

    async Task WriteAsync(IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        using var changed = listener.Subscribe(Listener.Hosts, host);
        await down.WriteAsync(new HubMessage { Welcome = new Welcome { HostId = host, Epoch = epoch, HeartbeatSeconds = Protocol.HeartbeatSeconds } }, cancel);
        while (true)
        {
            await SendWantedAsync(down, cancel);
            await changed.WaitAsync(LookAgain, cancel);
        }
    }

    async Task SendWantedAsync(IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        // Generation first, then the rows: a change in between is in the rows already and is sent once more with the next generation.
        var generation = await db.FindAsync<long?>(HostSql.Generation, new { id = host }, cancel)
            ?? throw new RpcException(new Status(StatusCode.PermissionDenied, "This host was revoked."));
        if (generation == sent) return;
        var full = sent < 0;
        var rows = await db.ListAsync<WantedRow>(HostSql.Wanted, new { host, since = full ? 0 : sent }, cancel);
        var wanted = new Wanted { Epoch = epoch, Generation = generation, Full = full };
        wanted.Vms.AddRange(rows.Select(ToWire));
        await down.WriteAsync(new HubMessage { Wanted = wanted }, cancel);
        sent = generation;
    }

    static WantedVm ToWire(WantedRow row)
    {
        var vm = new WantedVm
        {
            Id = row.Id,
            Power = row.Wanted switch { "on" => Power.On, "off" => Power.Off, "gone" => Power.Gone, _ => throw new InvalidOperationException(row.Wanted) },
            Generation = row.WantedGeneration,
            Restarts = row.Restarts,
            StopGraceSeconds = row.StopGraceSeconds,
            Name = row.Name,
            Vcpus = row.Vcpus,
            MemoryMb = row.MemoryMb,
            DiskGb = row.DiskGb,
            ImageId = row.Image,
            ImageSha256 = row.ImageSha256,
            Mac = row.Mac ?? "",
            Address = row.Address ?? "",
        };
        vm.SshKeys.AddRange(row.Keys.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        return vm;
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;

    static partial class Log
    {
        [LoggerMessage(300, LogLevel.Warning, "Host {Host} reports a VM that this Hub does not know there: {Vm}; it is left alone")]
        public static partial void Stranger(ILogger log, string host, string vm);
    }
}

/// <summary>Sums with IPv4 addresses.</summary>
public static class Addresses
{
    /// <summary>Both ends included.</summary>
    public static IEnumerable<IPAddress> Between(IPAddress first, IPAddress last)
    {
        for (var n = Number(first); n <= Number(last); n++)
            yield return new IPAddress([(byte)(n >> 24), (byte)(n >> 16), (byte)(n >> 8), (byte)n]);
    }

    /// <summary>One network card for one address: 52:54 (QEMU's locally administered prefix begins so) and the four bytes of the address.</summary>
    public static string Mac(string address)
    {
        var bytes = new byte[] { 0x52, 0x54 }.Concat(IPAddress.Parse(address).GetAddressBytes()).ToArray();
        return string.Join(':', new PhysicalAddress(bytes).GetAddressBytes().Select(b => b.ToString("x2")));
    }

    static long Number(IPAddress address)
    {
        var b = address.GetAddressBytes();
        return ((long)b[0] << 24) | ((long)b[1] << 16) | ((long)b[2] << 8) | b[3];
    }
}
