using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>
/// The pages as they are served, on a free port, with their own database; without Spoke and without reconcilers.
/// </summary>
public sealed class WebHub : IAsyncDisposable
{
    /// <summary>A Hub that cannot send emails.</summary>
    public static readonly (string Name, string? Value) NoMail = ("CAPSUL_SMTP_HOST", null);

    readonly TestDatabase rows;
    readonly WebApplication host;
    readonly CancellationTokenSource stop = new();
    Task listening = Task.CompletedTask;

    WebHub(TestDatabase database, WebApplication app, FakeTimeProvider time, KeptLog log) =>
        (rows, host, Time, Log) = (database, app, time, log);

    /// <summary>The errors that it logged.</summary>
    public KeptLog Log { get; }

    public FakeTimeProvider Time { get; }

    public Db Db => rows.Db;

    public DateTime Now => Time.GetUtcNow().UtcDateTime;

    public Uri Address =>
        new(host.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());

    public IEnumerable<Endpoint> Endpoints =>
        host.Services.GetServices<EndpointDataSource>().Concat(((IEndpointRouteBuilder)host).DataSources)
            .SelectMany(s => s.Endpoints).Distinct();

    public IServiceProvider Services => host.Services;

    public static async Task<WebHub> StartAsync(CancellationToken cancel, params (string Name, string? Value)[] changes)
    {
        var database = await TestDatabase.CreateAsync();
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Path.GetTempPath(),
            ["CAPSUL_PORT"] = "0",
        }).With(changes);
        // Emails stay in the outbox: nothing here sends them.
        if (!settings.Development && settings.SmtpHost is null && !changes.Contains(NoMail))
            settings = settings.With(("CAPSUL_SMTP_HOST", "mail.example.org"));
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        var log = new KeptLog();
        builder.Logging.ClearProviders().SetMinimumLevel(LogLevel.Error).AddProvider(log);
        builder.Services.AddSingleton(settings).AddSingleton(database.Db).AddSingleton<TimeProvider>(time);
        builder.Services.AddSingleton(new KeyRing(database.Db, RandomNumberGenerator.GetBytes(32)));
        builder.Services.AddSingleton<Listener>();
        builder.Services.AddHubPages(settings);
        var app = builder.Build();
        app.MapHubPages();
        await app.StartAsync(cancel);
        var hub = new WebHub(database, app, time, log);
        hub.listening = app.Services.GetRequiredService<Listener>().RunAsync(hub.stop.Token);
        return hub;
    }

    /// <summary>
    /// A browser with its own cookies, with a client address as forwarded by a proxy on this machine.
    /// </summary>
    public Visitor Visit(string? from = null) => new(this, from);

    /// <summary>A browser that is signed in to an account, which is created if it does not exist.</summary>
    public async Task<Visitor> SignInAsync(string email, CancellationToken cancel)
    {
        var visitor = Visit();
        await visitor.PostAsync("/sign-in", cancel, ("Email", email));
        var link = await NewestLinkAsync(email, cancel);
        using var answer = await visitor.GetAsync(link, cancel);
        answer.EnsureSuccessStatusCode();
        return visitor;
    }

    /// <summary>The path of the newest sign-in link emailed to an address.</summary>
    public async Task<string> NewestLinkAsync(string email, CancellationToken cancel)
    {
        var mails = await Db.ListAsync<ShownMailRow>(MailSql.Newest, null, cancel);
        var mail = mails.First(m => m.Recipient == email);
        var body = Services.GetRequiredService<MailSeal>().Open(mail.Body, mail.Secret)!;
        var start = body.IndexOf("/sign-in/", StringComparison.Ordinal);
        return body[start..].Split('\n', 2)[0].Trim();
    }

    /// <summary>Makes the database unreachable from now on.</summary>
    public async Task LoseDatabaseAsync(CancellationToken cancel)
    {
        var parts = new NpgsqlConnectionStringBuilder(rows.ConnectionString) { Database = "postgres", Pooling = false };
        await using var connection = new NpgsqlConnection(parts.ConnectionString);
        await connection.OpenAsync(cancel);
        var name = new NpgsqlConnectionStringBuilder(rows.ConnectionString).Database;
        await using var command = new NpgsqlCommand(
            $"ALTER DATABASE {name} ALLOW_CONNECTIONS FALSE; SELECT pg_terminate_backend(pid) "
                + $"FROM pg_stat_activity WHERE datname = '{name}'", connection);
        await command.ExecuteNonQueryAsync(cancel);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        try
        {
            await listening;
        }
        catch (OperationCanceledException)
        {
            // As asked.
        }
        await host.StopAsync();
        await host.DisposeAsync();
        await rows.DisposeAsync();
        stop.Dispose();
    }
}
