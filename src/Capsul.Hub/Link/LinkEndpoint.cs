using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Link;

/// <summary>
/// The Hub's end of the link. A Spoke is authenticated by its client certificate (<see cref="HostAuthentication"/>): a
/// replaced or revoked certificate is invalid, no matter who signed it.
/// </summary>
public sealed partial class LinkEndpoint(
    Db db, Fence fence, Heartbeats heartbeats, Listener listener, Seat seat, Authority authority, Settings settings,
    Transfers transfers, Streams streams, TimeProvider time, ILogger<LinkEndpoint> log) : HubLink.HubLinkBase
{
    static readonly TimeSpan HelloLimit = TimeSpan.FromSeconds(10), SeatPoll = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// After a restart of the Hub all Spokes come at once. With so many transactions at a time the database is busy and
    /// pages are still served.
    /// </summary>
    readonly SemaphoreSlim admission = new(8);
    readonly HostAuthentication authentication = new(db, authority, time);
    readonly ConcurrentDictionary<string, OpenConnection> connections = new(StringComparer.Ordinal);

    public override Task<AuthorityReply> Authority(AuthorityRequest request, ServerCallContext context) =>
        Task.FromResult(new AuthorityReply { Certificate = ByteString.CopyFrom(authority.Certificate) });

    public override async Task<JoinReply> Join(JoinRequest request, ServerCallContext context)
    {
        Intake.CheckProtocol(request.Protocol);
        Intake.CheckJoin(request);
        var joined = await db.DecideAsync<JoinReply>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var host = await transaction.FindAsync<string>(
                HostSql.UseToken, new { hash = JoinToken.Hash(request.Token), now }, context.CancellationToken);
            if (host is null)
                return new Problem(ProblemKind.Forbidden,
                    "This join token is unknown, expired or already used. Create a new one on the Hub.");
            return await SignAsync(
                transaction, HostSql.Join, host, request.CertificateRequest, context.CancellationToken);
        }, context.CancellationToken);
        return joined.Refused(out var problem, out var reply) ? throw Refusal(problem) : reply;
    }

    public override async Task<JoinReply> Renew(RenewRequest request, ServerCallContext context)
    {
        Intake.CheckRenew(request);
        var caller = await authentication.RunAsync(context);
        // A host that is not taken in yet shows the new certificate when it connects.
        if (!caller.IsKnown)
        {
            using var certificate = authority.SignHost(caller.Host, request.CertificateRequest.ToByteArray(), time);
            return Reply(caller.Host, certificate);
        }
        var renewed = await db.DecideAsync<JoinReply>(
            async transaction => await SignAsync(transaction, HostSql.Renew, caller.Host,
                request.CertificateRequest, context.CancellationToken), context.CancellationToken);
        return renewed.Refused(out var problem, out var reply) ? throw Refusal(problem) : reply;
    }

    async Task<Outcome<JoinReply>> SignAsync(
        NpgsqlTransaction transaction, string statement, string host, ByteString asked, CancellationToken cancel)
    {
        using var certificate = authority.SignHost(host, asked.ToByteArray(), time);
        if (await transaction.ExecuteAsync(
            statement, new
            {
                id = host,
                certificate = SHA256.HashData(certificate.RawData),
                ends = certificate.NotAfter.ToUniversalTime(),
            }, cancel) == 0)
            return new Problem(ProblemKind.Forbidden, $"The host {host} was revoked.");
        await transaction.AuditAsync($"host {host}", "certificate", host, certificate.Thumbprint, cancel);
        return Reply(host, certificate);
    }

    JoinReply Reply(string host, X509Certificate2 certificate) => new()
    {
        HostId = host,
        Certificate = ByteString.CopyFrom(certificate.RawData),
        Authority = ByteString.CopyFrom(authority.Certificate),
    };

    public override async Task Connect(IAsyncStreamReader<SpokeMessage> requestStream,
        IServerStreamWriter<HubMessage> responseStream, ServerCallContext context)
    {
        var caller = await authentication.RunAsync(context);
        var (host, epoch) = (caller.Host, seat.Epoch);
        if (epoch == 0) throw await StandbyAsync(context);
        var hello = await ReadHelloAsync(requestStream, context.CancellationToken);
        using var connection = new OpenConnection(hello.RunId, time, context.CancellationToken);
        await ReplaceAsync(host, connection);
        try
        {
            if (caller.IsRebuilding)
                await RebuildAsync(caller, epoch, hello, connection, requestStream, responseStream);
            else await CarryAsync(host, epoch, hello, connection, requestStream, responseStream);
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            // The Spoke disconnected, or a newer connection took over; both are routine. It must not look like an
            // orderly end to a Spoke that is still there.
            Log.Ended(log, host, error.Message);
            throw new RpcException(new Status(StatusCode.Aborted, $"The connection ended: {error.Message}"));
        }
        catch (SeatLostException)
        {
            throw NotActing;
        }
        catch (ProblemException error)
        {
            throw Refusal(error.Problem);
        }
        finally
        {
            if (connections.TryRemove(new KeyValuePair<string, OpenConnection>(host, connection)))
                await SetOfflineAsync(host, epoch);
            Log.Disconnected(log, host);
        }
    }

    async Task CarryAsync(string host, long epoch, Hello hello, OpenConnection connection,
        IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down)
    {
        SpokeConnection spoke = null!;
        spoke = new SpokeConnection(host, epoch, db, fence, heartbeats, listener, settings, time, log)
        {
            Admission = admission,
            Authority = authority,
            IsActing = () => seat.Epoch == epoch,
            Heard = () =>
            {
                if (connection.HearAndTakeContest()) _ = AlertCopyAsync(spoke, host, connection.Token);
            },
        };
        await spoke.GreetAsync(hello, connection.Token);
        using var connected = streams.Connect(host, hello.Facts.OpensStreams ? spoke.TryOpen : null,
            hello.Facts.OpensPorts, hello.Facts.ChangesKeys, hello.Facts.ShowsScreens);
        var hubs = await db.ListAsync<HubAddressRow>(SeatSql.Addresses, null, connection.Token);
        Log.Connected(log, host, Intake.Check(hello).Version);
        await RunAsync(spoke.RunAsync(up, down, [.. hubs.Select(h => h.LinkAddress)], connection.Token),
            SeatLostAsync(epoch, connection.Token), connection);
    }

    async Task RebuildAsync(Caller caller, long epoch, Hello hello, OpenConnection connection,
        IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down)
    {
        Log.Connected(log, caller.Host, Intake.Check(hello).Version);
        var reports = new HostReports(caller.Host, epoch, db, fence, settings, time, log);
        var rebuild = new RebuildConnection(caller, epoch, db, fence, listener, authority, reports, time, log)
        {
            IsActing = () => seat.Epoch == epoch,
            Heard = () => connection.HearAndTakeContest(),
        };
        await RunAsync(rebuild.RunAsync(hello, up, down, connection.Token), SeatLostAsync(epoch, connection.Token),
            connection);
    }

    /// <summary>
    /// A new connection for a host means that the old one is dead, unless another run of the program is still heard on
    /// it: then two machines have the same identity, and the later one is refused. It may also be the same one after a
    /// power failure: a moment later the old connection is silent, and it is let in.
    /// </summary>
    async Task ReplaceAsync(string host, OpenConnection connection)
    {
        if (connections.TryGetValue(host, out var old))
        {
            if (old.IsOtherRun(connection) && old.IsAlive)
            {
                old.Contest();
                throw new RpcException(new Status(StatusCode.AlreadyExists,
                    $"Another Spoke is connected as {host}. If it is a copy of this one, stop it."));
            }
            await old.EndAsync();
        }
        connections[host] = connection;
    }

    async Task AlertCopyAsync(SpokeConnection spoke, string host, CancellationToken cancel)
    {
        try
        {
            await spoke.AlertCopyAsync(cancel);
        }
        catch (Exception error) when (error is NpgsqlException or SeatLostException or OperationCanceledException)
        {
            Log.NoAlert(log, host, error.Message);
        }
    }

    /// <summary>The refusal by a standby Hub names the active one.</summary>
    async Task<RpcException> StandbyAsync(ServerCallContext context)
    {
        var active = (await db.ListAsync<HubAddressRow>(SeatSql.Addresses, null, context.CancellationToken))
            .FirstOrDefault(h => h.Acting)?.LinkAddress;
        var trailers = new Metadata();
        if (active is not null) trailers.Add(Protocol.ActiveHubTrailer, active);
        return new RpcException(
            new Status(StatusCode.Unavailable, "This is a standby Hub; another one is active."), trailers);
    }

    /// <summary>When one ends, so does the other; both have ended when this returns.</summary>
    static async Task RunAsync(Task carrying, Task seatLost, OpenConnection connection)
    {
        var first = await Task.WhenAny(carrying, seatLost);
        await connection.EndAsync();
        await Task.WhenAll(carrying, seatLost).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    static RpcException NotActing => new(new Status(StatusCode.Unavailable, "Another Hub is active."));

    /// <summary>Not if another Hub is active by now: the host may be connected to that one.</summary>
    async Task SetOfflineAsync(string host, long epoch)
    {
        try
        {
            await fence.ExecuteAsync(epoch, HostSql.Offline, new { id = host }, CancellationToken.None);
        }
        catch (SeatLostException)
        {
            // The new one checks for itself.
        }
    }

    async Task SeatLostAsync(long epoch, CancellationToken cancel)
    {
        while (seat.Epoch == epoch)
            await Task.Delay(SeatPoll, time, cancel);
        throw NotActing;
    }

    static async Task<Hello> ReadHelloAsync(IAsyncStreamReader<SpokeMessage> up, CancellationToken cancel)
    {
        try
        {
            if (await up.MoveNext(cancel).WaitAsync(HelloLimit, cancel) && up.Current.Hello is { } hello) return hello;
        }
        catch (TimeoutException)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, "The Spoke did not say hello in time."));
        }
        throw new RpcException(new Status(StatusCode.InvalidArgument, "The first message must be a hello with facts."));
    }

    static RpcException Refusal(Problem problem) => new(new Status(problem.Kind switch
    {
        ProblemKind.Invalid => StatusCode.InvalidArgument,
        ProblemKind.NotFound => StatusCode.NotFound,
        ProblemKind.Forbidden => StatusCode.PermissionDenied,
        ProblemKind.Conflict => StatusCode.FailedPrecondition,
        ProblemKind.InsufficientFunds or ProblemKind.NoCapacity or ProblemKind.RateLimited =>
            StatusCode.ResourceExhausted,
        ProblemKind.Unavailable => StatusCode.Unavailable,
    }, problem.Message));

    static partial class Log
    {
        [LoggerMessage(310, LogLevel.Information, "Host {Host} connected (version {Version})")]
        public static partial void Connected(ILogger log, string host, string version);

        [LoggerMessage(313, LogLevel.Debug, "The connection of host {Host} ended: {Why}")]
        public static partial void Ended(ILogger log, string host, string why);

        [LoggerMessage(312, LogLevel.Warning, "Two Spokes connect as {Host}; the alert could not be stored: {Why}")]
        public static partial void NoAlert(ILogger log, string host, string why);

        [LoggerMessage(311, LogLevel.Information, "Host {Host} disconnected")]
        public static partial void Disconnected(ILogger log, string host);
    }
}
