using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Reconcilers;

namespace Capsul.Chaos;

/// <summary>The work of the active Hub, one step of each part.</summary>
sealed partial class World
{
    async Task RunOperationAsync()
    {
        await runner!.RunOneAsync(Epoch, Never);
        await ChangedAsync();
    }

    async Task LookAtHealthAsync()
    {
        await health!.LookAsync(Epoch, Never);
        nextHealth = time.Now + HealthEvery;
        await ChangedAsync();
    }

    async Task RepairAsync()
    {
        report.Repaired += await halfMade!.LookAsync(Epoch, Never);
        nextRepair = time.Now + HalfMadeVms.Every;
        await ChangedAsync();
    }

    /// <summary>Posts the usage of an hour as soon as it has ended, so that much of what follows is late.</summary>
    public async Task PostHourAsync(DateTime hour)
    {
        await metering!.PostAsync(Epoch, hour, Never);
        nextHour = DateTime.MaxValue;
        await ChangedAsync();
    }

    async Task ChangePricesAsync()
    {
        report.Repriced += await prices!.LookAsync(Epoch, Never);
        nextPrice = await db.FindAsync<DateTime?>(PriceSql.Next, new { now = time.Now }, Never) ?? DateTime.MaxValue;
        await ChangedAsync();
    }

    /// <summary>A price was announced.</summary>
    public void LookAtPrices() => nextPrice = time.Now;

    async Task EvacuateAsync()
    {
        await evacuation!.LookAsync(Epoch, Never);
        nextEvacuation = time.Now + EvacuateEvery;
        await ChangedAsync();
    }

    async Task ServeQueuesAsync()
    {
        report.Admitted += await builds!.LookAsync(Epoch, Never);
        nextBuild = time.Now + BuildQueues.Every;
        await ChangedAsync();
    }

    async Task SaveHeartbeatsAsync()
    {
        await heartbeats!.SaveAsync(Epoch, Never);
        nextSave = time.Now + SaveEvery;
        await ChangedAsync();
    }
}
