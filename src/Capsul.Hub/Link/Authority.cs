using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Capsul.Foundation;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Storage;

namespace Capsul.Hub.Link;

/// <summary>
/// The Hub's own certificate authority, for the link to Spokes only. ECDSA with P-256. Its key is in the key ring, so
/// every Hub on the database has the same one. Server certificates are created at each start and kept in memory; client
/// certificates are valid for 90 days and renewed over the link.
/// </summary>
public sealed class Authority : IDisposable
{
    const string RingName = RecoveryCopy.AuthorityName;
    const int AuthorityYears = 20, ServerDays = 3650, ClientDays = 90;
    static readonly Oid ServerUse = new("1.3.6.1.5.5.7.3.1"), ClientUse = new("1.3.6.1.5.5.7.3.2");

    static readonly byte[] RecordContext = "capsul vm recovery record 1\0"u8.ToArray();

    readonly X509Certificate2 certificate;

    Authority(X509Certificate2 certificate) => this.certificate = certificate;

    /// <summary>The authority's certificate, DER, without its key.</summary>
    public byte[] Certificate => certificate.RawData;

    /// <summary>End of its validity; no certificate that it signs is valid for longer.</summary>
    public DateTime Ends => certificate.NotAfter.ToUniversalTime();

    /// <summary>SHA-256 of the certificate, lower-case hex, as in join tokens.</summary>
    public string Fingerprint => Convert.ToHexStringLower(SHA256.HashData(certificate.RawData));

    /// <summary>
    /// From the key ring; created on first use. If two Hubs create one at the same time, both use the one written
    /// first.
    /// </summary>
    public static async Task<Authority> OpenAsync(KeyRing ring, TimeProvider time, CancellationToken cancel)
    {
        if (await ring.ReadAsync(RingName, cancel) is not { } stored)
        {
            await ring.AddAsync(RingName, Make(time), cancel);
            stored = await ring.ReadAsync(RingName, cancel)
                ?? throw new InvalidOperationException("The key ring lost the entry that was just written.");
        }
        return new Authority(X509CertificateLoader.LoadPkcs12(stored, null, X509KeyStorageFlags.Exportable));
    }

    static byte[] Make(TimeProvider time)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Capsul Hub authority", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(
            certificateAuthority: true, hasPathLengthConstraint: true, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        var now = time.GetUtcNow();
        using var made = request.CreateSelfSigned(now.AddHours(-1), now.AddYears(AuthorityYears));
        return made.Export(X509ContentType.Pkcs12);
    }

    /// <summary>
    /// The Hub's server certificate on the link's port. Spokes check that this authority issued it for server use; they
    /// do not check its name.
    /// </summary>
    public X509Certificate2 MakeServerCertificate(TimeProvider time)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=Capsul Hub", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("capsul-hub");
        request.CertificateExtensions.Add(names.Build());
        using var signed = Sign(request, ServerUse, ServerDays, time);
        using var withKey = signed.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(withKey.Export(X509ContentType.Pkcs12), null);
    }

    /// <summary>Issues a client certificate for a host. Only the public key of the request is used.</summary>
    /// <exception cref="ProblemException">Invalid: not a certificate request, or its signature is wrong.</exception>
    public X509Certificate2 SignHost(string host, byte[] certificateRequest, TimeProvider time)
    {
        try
        {
            var asked = CertificateRequest.LoadSigningRequest(certificateRequest, HashAlgorithmName.SHA256);
            var request = new CertificateRequest(
                new X500DistinguishedName($"CN={host}"), asked.PublicKey, HashAlgorithmName.SHA256);
            return Sign(request, ClientUse, ClientDays, time);
        }
        catch (CryptographicException error)
        {
            throw new ProblemException(
                ProblemKind.Invalid, "That is not a valid certificate request.", error.Message, error);
        }
    }

    /// <summary>
    /// The host that a client certificate of this authority names, whatever the database says; null if it is not one,
    /// or not valid now. Only while the database is being rebuilt.
    /// </summary>
    public string? HostOf(X509Certificate2 client, TimeProvider time)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(certificate);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.ApplicationPolicy.Add(ClientUse);
        chain.ChainPolicy.VerificationTime = time.GetUtcNow().UtcDateTime;
        return chain.Build(client) ? client.GetNameInfo(X509NameType.SimpleName, forIssuer: false) : null;
    }

    /// <summary>Signs a recovery record. The context keeps it apart from everything else that the key signs.</summary>
    public byte[] SignRecord(byte[] record)
    {
        using var key = certificate.GetECDsaPrivateKey()!;
        return key.SignData((byte[])[.. RecordContext, .. record], HashAlgorithmName.SHA256);
    }

    public bool VerifyRecord(byte[] record, byte[] signature)
    {
        using var key = certificate.GetECDsaPublicKey()!;
        return key.VerifyData((byte[])[.. RecordContext, .. record], signature, HashAlgorithmName.SHA256);
    }

    X509Certificate2 Sign(CertificateRequest request, Oid use, int days, TimeProvider time)
    {
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, critical: true));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([use], critical: true));
        var now = time.GetUtcNow();
        var end = now.AddDays(days);
        var last = new DateTimeOffset(certificate.NotAfter.ToUniversalTime(), TimeSpan.Zero);
        return request.Create(
            certificate, now.AddHours(-1), end < last ? end : last, RandomNumberGenerator.GetBytes(16));
    }

    public void Dispose() => certificate.Dispose();
}
