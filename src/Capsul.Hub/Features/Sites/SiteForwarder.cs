using System.Net;
using System.Threading.RateLimiting;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Npgsql;
using Yarp.ReverseProxy.Forwarder;

namespace Capsul.Hub.Features.Sites;

/// <summary>
/// Answers requests for names under the domain of VMs, and no others: they are passed on to the VM's web server over
/// streams to its host, WebSockets too. Nothing of the Hub's own pages, cookies or headers is involved.
/// </summary>
public sealed class SiteForwarder(
    Db db, Settings settings, IHttpForwarder forwarder, IEnumerable<IHostPorts> hosts) : IDisposable
{
    /// <summary>Connections to one port of a VM at a time; with several names, more requests wait.</summary>
    const int MaxConnections = 64;

    /// <summary>Requests at a time: for one name, and of one address.</summary>
    const int MaxOfSite = 64, MaxOfAddress = 32;

    static readonly TimeSpan Idle = TimeSpan.FromSeconds(30), ConnectLimit = TimeSpan.FromSeconds(20),
        ActivityLimit = TimeSpan.FromMinutes(5);

    static readonly ForwarderRequestConfig Config = new() { ActivityTimeout = ActivityLimit };

    readonly SiteTransformer transformer = new();
    readonly PartitionedRateLimiter<HttpContext> rate = Limits.PerAddress();
    readonly Places<string> ofSites = new(MaxOfSite);
    readonly Places<IPAddress> ofAddresses = new(MaxOfAddress);
    HttpMessageInvoker? client;

    /// <summary>The part before the domain, if the request is for such a name; null: it is for the Hub.</summary>
    string? NameIn(HttpRequest request) => IsLinkPort(request) ? null
        : settings.VmDomain is { } domain
        && request.Host.Host.ToLowerInvariant().TrimEnd('.') is var host
        && host.EndsWith("." + domain, StringComparison.Ordinal) ? host[..^(domain.Length + 1)]
        : settings.VmDomain is not null && IsOwnPort(request) ? "" : null;

    /// <summary>The port with the certificate for names of VMs serves nothing else.</summary>
    bool IsOwnPort(HttpRequest request) => settings.VmHttpsPort == request.HttpContext.Connection.LocalPort;

    /// <summary>A Spoke may know the Hub by a name that somebody could give to a VM.</summary>
    bool IsLinkPort(HttpRequest request) => request.HttpContext.Connection.LocalPort == settings.LinkPort;

    /// <summary>Serves it if it is for a name of a VM; false: it is for the Hub.</summary>
    public async Task<bool> TryServeAsync(HttpContext context)
    {
        if (NameIn(context.Request) is not { } name) return false;
        using var lease = rate.AttemptAcquire(context);
        using var ofAddress = ofAddresses.TryTake(Limits.Neighbourhood(context.Connection.RemoteIpAddress));
        if (!lease.IsAcquired || ofAddress is null)
            await SayAsync(
                context, StatusCodes.Status429TooManyRequests, "These are too many requests. Wait a moment.");
        else await ServeAsync(context, name);
        return true;
    }

    async Task ServeAsync(HttpContext context, string name)
    {
        try
        {
            var target = name.Length == 0 ? null
                : await db.FindAsync<SiteTargetRow>(SiteSql.Target, new { name }, context.RequestAborted);
            await AnswerAsync(context, name, target);
        }
        catch (NpgsqlException) when (!context.Response.HasStarted)
        {
            await SayAsync(
                context, StatusCodes.Status503ServiceUnavailable, "The database does not respond. Try again soon.");
        }
    }

    async Task AnswerAsync(HttpContext context, string name, SiteTargetRow? target)
    {
        using var ofSite = target is null ? null : ofSites.TryTake(name);
        var from = context.Connection.RemoteIpAddress ?? IPAddress.None;
        if (target is null) await SayAsync(context, StatusCodes.Status404NotFound, "There is nothing at this name.");
        else if (!FirewallState.Read(target.Policy, target.Rules).Allows(target.VmPort, from))
            await SayAsync(
                context, StatusCodes.Status403Forbidden, "The firewall of this machine does not let you in.");
        else if (target.Observed != "on")
            await SayAsync(context, StatusCodes.Status503ServiceUnavailable, target.Observed == "unknown"
                ? "Contact with this machine was lost. Try again soon." : "This machine is off.");
        else if (ofSite is null)
            await SayAsync(context, StatusCodes.Status503ServiceUnavailable, "This machine is busy. Try again soon.");
        else await ForwardAsync(context, target);
    }

    async Task ForwardAsync(HttpContext context, SiteTargetRow target)
    {
        // The Hub's limit is for its own forms.
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } body)
            body.MaxRequestBodySize = null;
        var error = await forwarder.SendAsync(context, $"http://{target.Vm}:{target.VmPort}/", client ??= MakeClient(),
            Config, transformer, context.RequestAborted);
        if (error != ForwarderError.None && !context.Response.HasStarted
            && !context.RequestAborted.IsCancellationRequested)
            await SayAsync(context, StatusCodes.Status502BadGateway,
                $"The web server of this machine does not answer at port {target.VmPort}.");
    }

    static Task SayAsync(HttpContext context, int status, string sentence)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsync(sentence + "\n", context.RequestAborted);
    }

    HttpMessageInvoker MakeClient() => new(new SocketsHttpHandler
    {
        UseProxy = false,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        UseCookies = false,
        ActivityHeadersPropagator = null,
        ConnectTimeout = ConnectLimit,
        PooledConnectionIdleTimeout = Idle,
        MaxConnectionsPerServer = MaxConnections,
        ConnectCallback = ConnectAsync,
    });

    /// <summary>Each VM and port is a server of its own to the client, so connections are never mixed up.</summary>
    async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        var (vm, port) = (context.DnsEndPoint.Host, context.DnsEndPoint.Port);
        if (hosts.FirstOrDefault() is not { } all
            || await db.FindAsync<string>(SiteSql.HostOf, new { id = vm }, cancel) is not { } host)
            throw new IOException("No host is connected to this Hub.");
        return (await all.ConnectAsync(host, vm, port, cancel)).Refused(out var problem, out var connected)
            ? throw new IOException(problem.Message) : connected.Bytes;
    }

    public void Dispose()
    {
        client?.Dispose();
        rate.Dispose();
    }
}
