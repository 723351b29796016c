using Capsul.Hub.Engine;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Capsul.Hub.Reconcilers;

/// <summary>Keeps the private cluster running while the Hub does.</summary>
sealed class ClusterSupervisor(EmbeddedPostgres postgres) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => postgres.KeepRunningAsync(stoppingToken);
}

/// <summary>Everything that runs without a request.</summary>
static class BackgroundWork
{
    public static IServiceCollection AddBackgroundWork(this IServiceCollection services)
    {
        services.AddSingleton<Listener>().AddHostedService(s => s.GetRequiredService<Listener>());
        services.AddSingleton<Seat>().AddSingleton<Fence>().AddHostedService<ActingHub>();
        return services.AddActing<Runner>().AddActing<HostHealth>()
            .AddActing<AlertWatch>().AddActing<HalfMadeVms>().AddActing<BuildQueues>().AddActing<CounterCheck>()
            .AddActing<Evacuation>().AddActing<Metering>().AddActing<LedgerCheck>().AddActing<DunningSweep>()
            .AddActing<PriceChanges>().AddActing<ClosingSweep>().AddActing<SponsorshipSweep>().AddActing<TrialSweep>()
            .AddActing<ReceiptSweep>().AddActing<SpendingSweep>().AddActing<AutoTopUpSweep>()
            .AddActing<SavedCardPolling>()
            .AddActing<ProviderPolling>().AddActing<ProviderCheck>().AddActing<ReverseNames>().AddActing<MailSender>()
            .AddActing<ScheduledBackups>();
    }

    /// <summary>A part of the active Hub's work.</summary>
    public static IServiceCollection AddActing<T>(this IServiceCollection services) where T : class, IActingWork =>
        services.AddSingleton<T>().AddSingleton<IActingWork>(s => s.GetRequiredService<T>());
}
