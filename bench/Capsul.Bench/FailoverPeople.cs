using System.Collections.Concurrent;
using System.Globalization;
using Capsul.Demo;
using Capsul.Fleet;
using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>People who pay and create until their Hub is gone, and what it acknowledged to them.</summary>
sealed class FailoverPeople
{
    readonly ConcurrentBag<decimal> payments = [];
    readonly ConcurrentBag<string> vms = [];
    int paid, people;

    /// <summary>Every payment is of another amount, by which it is found again.</summary>
    public IReadOnlyCollection<decimal> Payments => payments;

    public IReadOnlyCollection<string> Vms => vms;

    /// <summary>Others each time and from another address, below all limits.</summary>
    public async Task<FrontDoor> SignInAsync(Settings hub, string who, CancellationToken cancel)
    {
        var number = ++people;
        var door = new FrontDoor(HubRun.PagesOf(hub), $"10.1.{number}.1");
        await door.SignInAsync($"{who}-{number}@example.org", cancel);
        return door;
    }

    /// <summary>One who pays and one who creates; they sign in one after another, by the newest email.</summary>
    public async Task<Load> BeginAsync(Settings hub, CancellationToken cancel)
    {
        var payer = await SignInAsync(hub, "payer", cancel);
        var creator = await SignInAsync(hub, "creator", cancel);
        var visitor = new Visitor(creator, hub.Data);
        await visitor.AddKeyAsync(cancel);
        await visitor.TopUpAsync("1000", cancel);
        var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        return new Load(stop, [payer, creator], Task.WhenAll(
            UseAsync(() => PayAsync(payer, stop.Token)),
            UseAsync(async () => vms.Add(
                await visitor.CreateAsync(FleetPlan.SizeId, FleetPlan.ImageId, "", stop.Token)))));
    }

    /// <summary>Goes on until the Hub is gone; only what it acknowledged counts.</summary>
    static async Task UseAsync(Func<Task> act)
    {
        try
        {
            while (true) await act();
        }
        catch (Exception error) when (error is HttpRequestException or ProblemException
            or OperationCanceledException or IOException)
        {
            // The fault; or a limit, which is an answer.
        }
    }

    async Task PayAsync(FrontDoor door, CancellationToken stop)
    {
        var dollars = 1 + Interlocked.Increment(ref paid) / 100m;
        var form = await door.OpenFormAsync("/balance", "/balance", stop);
        await door.PostAsync(form,
            [KeyValuePair.Create("Dollars", dollars.ToString("0.00", CultureInfo.InvariantCulture))], stop);
        payments.Add(dollars);
    }

    /// <summary>What they do now; disposing waits for its end.</summary>
    public sealed class Load(CancellationTokenSource stop, FrontDoor[] doors, Task work) : IAsyncDisposable
    {
        public void Stop() => stop.Cancel();

        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await work;
            foreach (var door in doors) door.Dispose();
            stop.Dispose();
        }
    }
}
