using System.Collections.Frozen;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Net.Http.Headers;

namespace Capsul.Hub.Web;

/// <summary>
/// Style sheet, scripts and pictures, embedded in the program. The URL contains a hash over all of them, so that
/// browsers may cache a file forever and modules import each other by plain relative names. Under another hash (a page
/// of an older or newer Hub) the file is still served, but not cacheable. ASP.NET's own MapStaticAssets needs its files
/// and two manifests beside the program, and does not support a second hash.
/// </summary>
public static class Assets
{
    const string Prefix = "assets/";

    static readonly FrozenDictionary<string, byte[]> Files = Load();

    static readonly string Hash = HashAll();

    /// <summary>URL of a file in <c>Web/Assets</c>.</summary>
    /// <exception cref="KeyNotFoundException">There is no such file; a bug in a page.</exception>
    public static string Url(string name) =>
        Files.ContainsKey(name) ? $"/assets/{Hash}/{name}" : throw new KeyNotFoundException($"No asset {name}.");

    /// <summary>Whether there is such a file: some are taken from packages of the system.</summary>
    public static bool Has(string name) => Files.ContainsKey(name);

    public static void MapAssets(this IEndpointRouteBuilder routes) => routes.MapGet("/assets/{hash}/{*name}", Serve)
        .RequireAuthorization(Policies.Public).WithMetadata(new NoSession());

    static IResult Serve(HttpContext context, string hash, string name)
    {
        if (!Files.TryGetValue(name, out var bytes))
            return Results.NotFound();
        context.Response.Headers[HeaderNames.CacheControl] =
            hash == Hash ? "public, max-age=31536000, immutable" : "no-store";
        return Results.Bytes(bytes, ContentType(name));
    }

    /// <summary>A file at a fixed URL, whose content may change.</summary>
    public static IResult Plain(HttpContext context, string name)
    {
        context.Response.Headers[HeaderNames.CacheControl] = "public, max-age=86400";
        return Results.Bytes(Files[name], ContentType(name));
    }

    static string ContentType(string name) => Path.GetExtension(name) switch
    {
        ".css" => "text/css; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".svg" => "image/svg+xml",
        ".ico" => "image/x-icon",
        _ => "application/octet-stream",
    };

    static FrozenDictionary<string, byte[]> Load()
    {
        var assembly = typeof(Assets).Assembly;
        var own = assembly.GetManifestResourceNames().Where(n => n.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(n =>
            {
                using var stream = assembly.GetManifestResourceStream(n)!;
                var bytes = new byte[stream.Length];
                stream.ReadExactly(bytes);
                return KeyValuePair.Create(n[Prefix.Length..].Replace('\\', '/'), bytes);
            });
        return own.Concat(Xterm.Files()).Concat(Novnc.Files()).ToFrozenDictionary(StringComparer.Ordinal);
    }

    static string HashAll()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (name, bytes) in Files.OrderBy(f => f.Key, StringComparer.Ordinal))
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes($"{name}\0{bytes.Length}\0"));
            hash.AppendData(bytes);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }
}
