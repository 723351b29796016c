using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.ReverseDns;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: tells the DNS server the names of addresses until it has confirmed them. Each is told
/// again once a day, so that a server that was restored, or a late message of a Hub that is no longer active, does not
/// last. An update that changes nothing does no harm.
/// </summary>
public sealed partial class ReverseNames(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<ReverseNames> log) : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(3), FirstPause = TimeSpan.FromSeconds(5),
        LongestPause = TimeSpan.FromMinutes(10);

    public static readonly TimeSpan Again = TimeSpan.FromDays(1);

    const int PageRows = 50;

    public string Name => "Reverse DNS";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        if (settings.DnsServer is null) await Task.Delay(Timeout.InfiniteTimeSpan, time, cancel);
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>Tells the server what is due; returns how many names it has taken.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var taken = 0;
        foreach (var due in await db.ListAsync<DueNameRow>(
            ReverseNameSql.Due, new { now = Now, limit = PageRows }, cancel))
        {
            var problem = await DnsUpdate.SendAsync(settings, IPAddress.Parse(due.Address), due.Name, cancel);
            if (problem.Length > 0) await FailedAsync(epoch, due, problem, cancel);
            else taken += await TakenAsync(epoch, due, cancel);
        }
        return taken;
    }

    Task<int> TakenAsync(long epoch, DueNameRow due, CancellationToken cancel) => fence.ExecuteAsync(epoch,
        due.Name.Length > 0 ? ReverseNameSql.Published : ReverseNameSql.Forget,
        new { due.Address, due.Name, next = Now + Again }, cancel);

    async Task FailedAsync(long epoch, DueNameRow due, string problem, CancellationToken cancel)
    {
        Log.Failed(log, due.Address, problem);
        var pause = FirstPause * Math.Pow(2, Math.Min(due.Tries, 10));
        var next = Now + (pause < LongestPause ? pause : LongestPause);
        await fence.ExecuteAsync(
            epoch, ReverseNameSql.Failed, new { due.Address, due.Name, now = Now, next, problem }, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3550, Level = LogLevel.Warning,
            Message = "The DNS server did not take the name of {Address}: {Problem}")]
        public static partial void Failed(ILogger log, string address, string problem);
    }
}
