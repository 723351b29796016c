using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Consoles;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Link;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Capsul.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub;

/// <summary>
/// A running Hub: an up-to-date database, the pages on one port, the link for Spokes on another, and the background
/// work while it holds the seat. Everything is wired here and nowhere else.
/// </summary>
public sealed partial class HubProgram : IAsyncDisposable
{
    readonly DataFolder folder;
    readonly EmbeddedPostgres? postgres;
    readonly WebApplication app;
    readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Settings settings;

    HubProgram(DataFolder folder, EmbeddedPostgres? postgres, WebApplication app, Settings settings)
    {
        (this.folder, this.postgres, this.app, this.settings) = (folder, postgres, app, settings);
        app.Lifetime.ApplicationStopped.Register(() => ended.TrySetResult());
    }

    public Db Db => app.Services.GetRequiredService<Db>();

    public Seat Seat => app.Services.GetRequiredService<Seat>();

    public IServiceProvider Services => app.Services;

    /// <summary>Port of the pages, even when 0 was configured.</summary>
    public int Port => settings.Port;

    /// <summary>Port of the link for Spokes.</summary>
    public int LinkPort => settings.LinkPort;

    /// <summary>Where people reach the pages.</summary>
    public Uri BaseUrl => settings.BaseUrl ?? new Uri($"http://{Settings.Here(settings.Listen)}:{Port}/");

    /// <summary>Starts; returns when pages and link accept connections.</summary>
    /// <param name="configureLogs">Where log lines go.</param>
    /// <exception cref="ProblemException">With one sentence that says what is wrong.</exception>
    public static async Task<HubProgram> StartAsync(
        Settings settings, TimeProvider time, Action<ILoggingBuilder> configureLogs, CancellationToken cancel)
    {
        settings = WithPorts(settings);
        ScheduledBackups.Schedule(settings);
        using var logs = LoggerFactory.Create(configureLogs);
        var log = logs.CreateLogger("Capsul.Hub");
        var folder = DataFolder.Take(settings.Data, "hub");
        EmbeddedPostgres? postgres = null;
        try
        {
            var connection = DatabaseAddress.From(settings)?.ConnectionString;
            if (connection is null)
                (postgres, connection) = await EmbeddedPostgres.StartAsync(settings, log, cancel);
            var db = new Db(connection);
            await PrepareAsync(db, settings, log, cancel);
            var ring = new KeyRing(db, await SecretKeyAsync(settings, cancel));
            var authority = await Authority.OpenAsync(ring, time, cancel);
            var app = Build(settings, time, configureLogs, db, ring, authority, postgres);
            await StartWebAsync(app, settings, cancel);
            return new HubProgram(folder, postgres, app, settings);
        }
        catch
        {
            if (postgres is not null) await postgres.StopAsync(CancellationToken.None);
            folder.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Checks the connection to the database and upgrades the schema, which has to wait while an older Hub is active.
    /// </summary>
    static async Task PrepareAsync(Db db, Settings settings, ILogger log, CancellationToken cancel)
    {
        var upgrade = new SchemaUpgrade(db, settings, patient: true, log);
        WaitingRoom? room = null;
        try
        {
            if (settings.ExternalDatabase && await Pooler.FindAsync(db, cancel) is { } problem)
                throw new ProblemException(problem);
            await upgrade.RunAsync(
                async () => room = await WaitingRoom.OpenAsync(settings, () => upgrade.Waiting, cancel), cancel);
            await SetCurrency.RunAsync(db, settings, cancel);
            Show.Currency = (settings.Currency.Symbol, settings.Currency.Decimals);
        }
        catch (Exception error) when (error is Npgsql.NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
        finally
        {
            if (room is not null) await room.DisposeAsync();
        }
    }

    /// <summary>Port 0 means a free one; it is chosen now, because emails and tokens contain it.</summary>
    public static Settings WithPorts(Settings settings) => settings.With(
        ("CAPSUL_PORT", TakeFree(settings.Port)), ("CAPSUL_LINK_PORT", TakeFree(settings.LinkPort)));

    static string TakeFree(int port) => (port == 0 ? Ports.TakeFree() : port).ToString();

    const int KeyBytes = 32;

    /// <summary>From the settings, or generated once and kept in the data folder, readable by the owner only.</summary>
    public static async Task<byte[]> SecretKeyAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.SecretKey is { } configured) return Convert.FromBase64String(configured);
        var file = Path.Combine(settings.Data, "secret.key");
        if (!File.Exists(file) || new FileInfo(file).Length == 0) await MakeSecretKeyAsync(file, cancel);
        var key = new byte[KeyBytes];
        var text = (await File.ReadAllTextAsync(file, cancel)).Trim();
        if (Convert.TryFromBase64String(text, key, out var length) && length == KeyBytes) return key;
        throw new ProblemException(ProblemKind.Unavailable,
            $"{file} is damaged: it must hold {KeyBytes} bytes in base64. Restore it from your copy; a new key could "
            + "not decrypt the secrets in the database.");
    }

    /// <summary>In a folder that this user cannot write to, an empty file has been created for it.</summary>
    static async Task MakeSecretKeyAsync(string file, CancellationToken cancel)
    {
        var text = Encoding.ASCII.GetBytes(Convert.ToBase64String(RandomNumberGenerator.GetBytes(KeyBytes)) + "\n");
        if (!File.Exists(file))
        {
            await DataFolder.WriteWholeAsync(file, text, cancel);
            return;
        }
        await using var empty = new FileStream(file, FileMode.Open, FileAccess.Write, FileShare.None);
        await empty.WriteAsync(text, cancel);
        empty.Flush(flushToDisk: true);
    }

    static WebApplication Build(
        Settings settings, TimeProvider time, Action<ILoggingBuilder> configureLogs, Db db, KeyRing ring,
        Authority authority, EmbeddedPostgres? postgres)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
        {
            ContentRootPath = AppContext.BaseDirectory,
            EnvironmentName = settings.Development ? Environments.Development : Environments.Production,
        });
        configureLogs(builder.Logging.ClearProviders());
        builder.WebHost.UseKestrelHttpsConfiguration();
        var certificate = authority.MakeServerCertificate(time);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = settings.MaxConnections;
            // A machine that vanishes without a word must not keep the other end of a transfer or a stream waiting.
            kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(10);
            kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
            kestrel.Listen(settings.Listen, settings.Port);
            if (settings.VmHttpsPort is { } vmPort)
                kestrel.Listen(settings.HubPortsListen, vmPort, sites => sites.UseHttps(https =>
                {
                    https.ServerCertificate =
                        X509Certificate2.CreateFromPemFile(settings.VmCertificate!, settings.VmCertificateKey);
                    // The file has those that it is signed by, too.
                    https.ServerCertificateChain = [];
                    https.ServerCertificateChain.ImportFromPemFile(settings.VmCertificate!);
                }));
            kestrel.Listen(settings.LinkListen, settings.LinkPort, link =>
            {
                link.Protocols = HttpProtocols.Http2;
                link.UseHttps(certificate, https =>
                {
                    // Both ends are Capsul: older protocol versions are not needed.
                    https.SslProtocols = SslProtocols.Tls13;
                    // All Spokes dial at the same moment when the Hub was away.
                    https.HandshakeTimeout = TimeSpan.FromSeconds(30);
                    https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
                    // The certificate is compared with the database's, byte for byte; see LinkEndpoint.
                    https.ClientCertificateValidation = (_, _, _) => true;
                });
            });
        });
        var services = builder.Services;
        services.AddSingleton(settings).AddSingleton(time).AddSingleton(db).AddSingleton(ring).AddSingleton(authority);
        services.AddSingleton(new LinkAuthority(authority.Ends));
        services.AddSingleton<Streams>().AddSingleton<IHostConsoles>(all => all.GetRequiredService<Streams>())
            .AddSingleton<IHostAgents>(all => all.GetRequiredService<Streams>())
            .AddSingleton<IHostPorts>(all => all.GetRequiredService<Streams>()).AddActing<PortListeners>();
        services.AddSingleton<Transfers>().AddSingleton<LinkEndpoint>().AddActing<Heartbeats>();
        services.AddBackgroundWork();
        services.AddHostedService<RecoveryCopies>();
        if (postgres is not null) services.AddHostedService(_ => new ClusterSupervisor(postgres));
        services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = Protocol.MaxMessageBytes);
        services.AddHubPages(settings);
        var app = builder.Build();
        Map(app, settings);
        return app;
    }

    /// <summary>Two separate ports: the link's port serves only the link, the pages' port everything else.</summary>
    static void Map(WebApplication app, Settings settings)
    {
        app.Use(async (context, next) =>
        {
            var isLink =
                context.Features.Get<Microsoft.AspNetCore.Connections.Features.ITlsHandshakeFeature>() is not null
                    && context.Connection.LocalPort != settings.VmHttpsPort;
            var wantsLink = context.Request.Path.StartsWithSegments(
                "/capsul.link.v1.HubLink", StringComparison.Ordinal);
            if (isLink != wantsLink)
            {
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                return;
            }
            await next(context);
        });
        app.MapHubPages();
        app.MapGrpcService<LinkEndpoint>().RequireAuthorization(Policies.Public);
        app.MapGet("/healthz", HealthAsync).RequireAuthorization(Policies.Public);
    }

    /// <summary>
    /// 200 with "acting" or "standby", and the epoch; it is public, so it contains no machine name. 503 when the
    /// database does not respond.
    /// </summary>
    static async Task<IResult> HealthAsync(HttpRequest request, Seat seat, Db db, CancellationToken cancel)
    {
        // Whether a proxy in front of the pages is configured correctly can only be seen from outside.
        var https = request.IsHttps;
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(TimeSpan.FromSeconds(3));
            var row = (await db.FindSeatAsync(limit.Token))!;
            // The epoch is raised a moment before this process knows that it is active.
            var epoch = seat.Epoch;
            return Results.Json(new
            {
                status = epoch != 0 ? "acting" : "standby",
                epoch = epoch != 0 ? epoch : row.Epoch,
                since = row.TakenAt,
                why = seat.Unfit,
                https,
            });
        }
        catch (Exception error) when (error is Npgsql.NpgsqlException or OperationCanceledException or TimeoutException
            && !cancel.IsCancellationRequested)
        {
            return Results.Json(new { status = "no database" }, statusCode: StatusCodes.Status503ServiceUnavailable);
        }
    }

    static async Task StartWebAsync(WebApplication app, Settings settings, CancellationToken cancel)
    {
        try
        {
            await app.StartAsync(cancel);
        }
        catch (IOException error)
        {
            throw new ProblemException(ProblemKind.Conflict,
                $"A port is in use: {error.Message.TrimEnd('.')}. Choose others with --port "
                    + $"(CAPSUL_PORT={settings.Port}) and CAPSUL_LINK_PORT={settings.LinkPort}.", null, error);
        }
        catch (System.Net.Sockets.SocketException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The Hub cannot listen: {error.Message}. Check CAPSUL_LISTEN={settings.Listen}, "
                    + $"CAPSUL_LINK_LISTEN={settings.LinkListen} and their ports.", null, error);
        }
    }

    /// <summary>
    /// Completes when the Hub has to exit because a part that cannot be restarted has failed. The log says which.
    /// </summary>
    public Task Ended => ended.Task;

    /// <summary>Stops cleanly: first the pages, then the background work, then the private cluster.</summary>
    public async ValueTask DisposeAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await app.StopAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await app.DisposeAsync();
        if (postgres is not null) await postgres.StopAsync(CancellationToken.None);
        folder.Dispose();
    }
}
