using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Postgres;

namespace Capsul.Bench;

/// <summary>
/// Requests of signed-in people from many addresses, so that the limit of an address is not what is measured. The
/// session is written to the database as a sign-in would.
/// </summary>
sealed class SignedIn(HttpClient client, string session) : IDisposable
{
    const int Addresses = 50_000;
    static readonly TimeSpan Lifetime = TimeSpan.FromDays(30);
    /// <summary>Of all of them: each request is from the next address.</summary>
    static int requests;

    public static async Task<SignedIn> EnterAsync(Db db, Uri hub, string email, CancellationToken cancel)
    {
        var now = TimeProvider.System.GetUtcNow().UtcDateTime;
        var session = Secret.Make();
        await db.ExecuteAsync(AccountSql.CreateSession,
            new { hash = Secret.Hash(session), email, now, expires = now + Lifetime }, cancel);
        return new SignedIn(new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            AllowAutoRedirect = false,
            UseCookies = false,
        })
        { BaseAddress = hub, Timeout = TimeSpan.FromMinutes(1) }, session);
    }

    public HttpRequestMessage Get(string path)
    {
        var n = Interlocked.Increment(ref requests) % Addresses;
        var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Add("Cookie", $"capsul-session={session}");
        request.Headers.Add("X-Forwarded-For", $"10.{n >> 16}.{(n >> 8) & 255}.{n & 255}");
        return request;
    }

    /// <exception cref="ProblemException">The page is not one.</exception>
    public async Task ReadAsync(string path, CancellationToken cancel)
    {
        using var request = Get(path);
        using var answer = await client.SendAsync(request, cancel);
        var text = await answer.Content.ReadAsStringAsync(cancel);
        if (!answer.IsSuccessStatusCode)
            throw new ProblemException(ProblemKind.Unavailable, $"{path}: {(int)answer.StatusCode}", text);
    }

    /// <summary>An endless answer, after its headers.</summary>
    public async Task<HttpResponseMessage> OpenAsync(string path, CancellationToken cancel)
    {
        using var request = Get(path);
        var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);
        return answer.EnsureSuccessStatusCode();
    }

    /// <summary>Requests a second.</summary>
    public async Task<double> RateAsync(string path, int count, int concurrency, CancellationToken cancel)
    {
        var (left, clock) = (count, Stopwatch.StartNew());
        await Task.WhenAll(Enumerable.Range(0, concurrency).Select(async _ =>
        {
            while (Interlocked.Decrement(ref left) >= 0) await ReadAsync(path, cancel);
        }));
        return count / clock.Elapsed.TotalSeconds;
    }

    /// <summary>Milliseconds of one request after another.</summary>
    public async Task<List<double>> TimesAsync(string path, int count, CancellationToken cancel)
    {
        var times = new List<double>();
        for (var n = 0; n < count; n++)
        {
            var clock = Stopwatch.StartNew();
            await ReadAsync(path, cancel);
            times.Add(clock.Elapsed.TotalMilliseconds);
        }
        return times;
    }

    public void Dispose() => client.Dispose();
}
