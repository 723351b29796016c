using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Capsul.Foundation;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Capsul.Spoke.Link;

/// <summary>
/// This Spoke's identity: its key and client certificate, the Hub's certificate authority, the Hub's address. Stored in
/// <c>spoke/identity.pfx</c>, <c>authority.cer</c> and <c>hub</c>, readable by the owner only.
/// </summary>
public sealed class Identity
{
    /// <summary>A certificate with less than this left is renewed: a third of its 90 days.</summary>
    static readonly TimeSpan RenewBefore = TimeSpan.FromDays(30);
    static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(20);

    /// <summary>With TLS. When a thousand Spokes dial at the same moment, the last one waits for a while.</summary>
    static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(30);

    readonly string folder;
    X509Certificate2 certificate;
    readonly X509Certificate2 authority;
    /// <summary>The own address that it connects from; null: the system chooses.</summary>
    readonly IPAddress? from;

    Identity(
        string folder, string address, X509Certificate2 certificate, X509Certificate2 authority, IPAddress? from) =>
        (this.folder, Address, this.certificate, this.authority, this.from) =
            (folder, address, certificate, authority, from);

    /// <summary>host:port of the link of the Hub that it joined.</summary>
    public string Address { get; }

    /// <summary>Where the Spoke keeps what it knows of its Hubs.</summary>
    public string Folder => folder;

    public string HostId => certificate.GetNameInfo(X509NameType.SimpleName, forIssuer: false);

    public DateTime ValidUntil => certificate.NotAfter.ToUniversalTime();

    /// <summary>Connects to the Hub and checks its identity.</summary>
    /// <exception cref="ProblemException">Unavailable: it does not respond, or it is not this Hub.</exception>
    public async Task ReachHubAsync(CancellationToken cancel)
    {
        using var channel = Open();
        await CallAsync(Address, () => new HubLink.HubLinkClient(channel).AuthorityAsync(
            new AuthorityRequest(), cancellationToken: cancel).ResponseAsync.WaitAsync(CallLimit, cancel));
    }

    /// <summary>
    /// The same Spoke for a Hub that is now at another address, such as in this process on a changing port.
    /// </summary>
    public Identity At(string address) => new(folder, address, certificate, authority, from);

    static string FolderOf(string data) => Path.Combine(data, "spoke");

    /// <summary>Null when this machine has not joined a Hub.</summary>
    public static Identity? Load(string data, IPAddress? from = null)
    {
        var folder = FolderOf(data);
        if (!File.Exists(Path.Combine(folder, "identity.pfx"))) return null;
        try
        {
            return Read(folder, from);
        }
        catch (Exception error) when (error is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The identity of this Spoke in {folder} cannot be read: {error.Message} Restore it from a backup, or "
                + "join again with a new token.", null, error);
        }
    }

    static Identity Read(string folder, IPAddress? from) => new(
        folder, File.ReadAllText(Path.Combine(folder, "hub")).Trim(),
        X509CertificateLoader.LoadPkcs12FromFile(
            Path.Combine(folder, "identity.pfx"), null, X509KeyStorageFlags.Exportable),
        X509CertificateLoader.LoadCertificateFromFile(Path.Combine(folder, "authority.cer")), from);

    /// <summary>
    /// Joins with a one-time token: fetches the Hub's certificate authority and checks its fingerprint, and only then
    /// sends the token's secret, over a connection authenticated by this authority.
    /// </summary>
    /// <exception cref="ProblemException">With the Hub's message, or a connection error.</exception>
    public static Task<Identity> JoinAsync(string data, JoinToken token, CancellationToken cancel) =>
        JoinAsync(data, token, null, cancel);

    /// <summary>The same for one of several Spokes on this machine, which all have addresses of their own.</summary>
    public static async Task<Identity> JoinAsync(
        string data, JoinToken token, IPAddress? from, CancellationToken cancel)
    {
        var folder = FolderOf(data);
        Directory.CreateDirectory(folder);
        using var authority = await FetchAuthorityAsync(token, from, cancel);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var channel = Open(token.Address, authority, client: null, from);
        var reply = await CallAsync(token.Address, () => new HubLink.HubLinkClient(channel).JoinAsync(new JoinRequest
        {
            Token = token.Secret,
            CertificateRequest = ByteString.CopyFrom(Request(key)),
            Protocol = Protocol.Version,
        }, deadline: null, cancellationToken: cancel).ResponseAsync.WaitAsync(CallLimit, cancel));
        await DataFolder.WriteWholeAsync(
            Path.Combine(folder, "hub"), System.Text.Encoding.UTF8.GetBytes(token.Address + "\n"), cancel);
        await DataFolder.WriteWholeAsync(Path.Combine(folder, "authority.cer"), authority.RawData, cancel);
        await StoreAsync(folder, reply, key, cancel);
        ConnectionToken.Forget(folder);
        File.Delete(Path.Combine(folder, "hubs"));
        return Load(data, from)!;
    }

    static async Task<X509Certificate2> FetchAuthorityAsync(
        JoinToken token, IPAddress? from, CancellationToken cancel)
    {
        X509Certificate2? shown = null;
        using var channel = Channel(token.Address, new SslClientAuthenticationOptions
        {
            TargetHost = "capsul-hub",
            // Nothing secret is sent over this connection; what it returns is checked below.
            RemoteCertificateValidationCallback = (_, seen, _, _) =>
            {
                if (seen is not null) shown = X509CertificateLoader.LoadCertificate(seen.GetRawCertData());
                return seen is not null;
            },
        }, from);
        var reply = await CallAsync(token.Address,
            () => new HubLink.HubLinkClient(channel).AuthorityAsync(new AuthorityRequest(), cancellationToken: cancel)
                .ResponseAsync.WaitAsync(CallLimit, cancel));
        var authority = X509CertificateLoader.LoadCertificate(reply.Certificate.ToByteArray());
        if (Convert.ToHexStringLower(SHA256.HashData(authority.RawData)) != token.Fingerprint
            || shown is null || !Vouches(authority, shown))
            throw new ProblemException(ProblemKind.Forbidden,
                $"The server at {token.Address} is not the Hub that created this token. The connection may be "
                + "intercepted; nothing was sent.");
        return authority;
    }

    /// <summary>A channel that presents this Spoke's certificate and accepts only the Hub's.</summary>
    public GrpcChannel Open() => OpenAt(Address);

    /// <summary>The same, to a Hub at another address.</summary>
    /// <param name="address">host:port.</param>
    /// <param name="limit">For connecting, with TLS; null: as long as a busy Hub may take.</param>
    public GrpcChannel OpenAt(string address, TimeSpan? limit = null) =>
        Open(address, authority, certificate, from, limit);

    /// <summary>Renews the certificate when it is about to expire; true if it did.</summary>
    public async Task<bool> RenewAsync(GrpcChannel channel, TimeProvider time, CancellationToken cancel)
    {
        if (certificate.NotAfter.ToUniversalTime() - time.GetUtcNow().UtcDateTime > RenewBefore) return false;
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var reply = await CallAsync(Address, () => new HubLink.HubLinkClient(channel).RenewAsync(
            new RenewRequest { CertificateRequest = ByteString.CopyFrom(Request(key)) }, cancellationToken: cancel)
            .ResponseAsync.WaitAsync(CallLimit, cancel));
        certificate = await StoreAsync(folder, reply, key, cancel);
        return true;
    }

    static byte[] Request(ECDsa key) =>
        new CertificateRequest("CN=capsul spoke", key, HashAlgorithmName.SHA256).CreateSigningRequest();

    static async Task<X509Certificate2> StoreAsync(string folder, JoinReply reply, ECDsa key, CancellationToken cancel)
    {
        using var bare = X509CertificateLoader.LoadCertificate(reply.Certificate.ToByteArray());
        using var withKey = bare.CopyWithPrivateKey(key);
        var pfx = withKey.Export(X509ContentType.Pkcs12);
        await DataFolder.WriteWholeAsync(Path.Combine(folder, "identity.pfx"), pfx, cancel);
        return X509CertificateLoader.LoadPkcs12(pfx, null, X509KeyStorageFlags.Exportable);
    }

    static GrpcChannel Open(
        string address, X509Certificate2 authority, X509Certificate2? client, IPAddress? from,
        TimeSpan? limit = null) =>
        Channel(address, new SslClientAuthenticationOptions
        {
            // The Hub is identified by its authority, not by a name: it may move to another address.
            TargetHost = "capsul-hub",
            ClientCertificates = client is null ? null : [client],
            LocalCertificateSelectionCallback = client is null ? null : (_, _, _, _, _) => client,
            RemoteCertificateValidationCallback = (_, seen, _, _) =>
                seen is not null && Vouches(authority, X509CertificateLoader.LoadCertificate(seen.GetRawCertData())),
        }, from, limit);

    static GrpcChannel Channel(
        string address, SslClientAuthenticationOptions ssl, IPAddress? from, TimeSpan? limit = null) =>
        GrpcChannel.ForAddress($"https://{address}", new GrpcChannelOptions
        {
            DisposeHttpClient = true,
            MaxReceiveMessageSize = Protocol.MaxMessageBytes,
            MaxSendMessageSize = Protocol.MaxMessageBytes,
            HttpHandler = new SocketsHttpHandler
            {
                SslOptions = ssl,
                ConnectCallback = from is null ? null
                    : (context, cancel) => ConnectAsync(from, context.DnsEndPoint, cancel),
                ConnectTimeout = limit ?? ConnectLimit,
                KeepAlivePingDelay = TimeSpan.FromSeconds(10),
                KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
                PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
                EnableMultipleHttp2Connections = true,
            },
        });

    static async ValueTask<Stream> ConnectAsync(IPAddress from, DnsEndPoint to, CancellationToken cancel)
    {
        var socket = new Socket(from.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            socket.Bind(new IPEndPoint(from, 0));
            await socket.ConnectAsync(to, cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Whether <paramref name="seen"/> is a valid server certificate of this authority.</summary>
    static bool Vouches(X509Certificate2 authority, X509Certificate2 seen)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(authority);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        return chain.Build(seen);
    }

    static async Task<T> CallAsync<T>(string address, Func<Task<T>> call)
    {
        try
        {
            return await call();
        }
        catch (RpcException error) when (error.StatusCode is StatusCode.PermissionDenied
            or StatusCode.FailedPrecondition or StatusCode.InvalidArgument or StatusCode.Unauthenticated)
        {
            throw new ProblemException(ProblemKind.Forbidden, error.Status.Detail, null, error);
        }
        catch (Exception error) when (error is RpcException or TimeoutException)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The Hub at {address} does not respond: {(error as RpcException)?.Status.Detail ?? error.Message}",
                null, error);
        }
    }
}
