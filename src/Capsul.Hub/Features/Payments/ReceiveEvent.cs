using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// POST /webhooks/{provider}: a provider tells that something has happened. The event is stored once, and the provider
/// is asked what has become of the payment; nothing else of the event is believed. Any Hub takes events.
/// </summary>
public sealed partial class ReceiveEvent(
    Db db, PaymentProviders providers, TimeProvider time, ILogger<ReceiveEvent> log)
{
    /// <summary>More than any event has; the table keeps no more.</summary>
    public const int MaxBytes = 64 * 1024;

    static readonly TimeSpan CountEvery = TimeSpan.FromSeconds(1);

    readonly Lock gate = new();
    long refused;
    DateTime counted;

    public async Task<IResult> RunAsync(string provider, HttpContext context, CancellationToken cancel)
    {
        if (providers.Find(provider) is not { } from) return Results.NotFound();
        var body = await ReadAsync(context.Request, cancel);
        if (body is null) return Results.StatusCode(StatusCodes.Status413PayloadTooLarge);
        var now = time.GetUtcNow().UtcDateTime;
        if (from.Read(context.Request.Headers, body, now).Refused(out var problem, out var read))
        {
            if (problem.Kind != ProblemKind.NotFound) await RefuseAsync(provider, problem, now, cancel);
            return Results.StatusCode(problem.HttpStatus);
        }
        if (PaymentKey.IsCard(read.Key))
            await db.ExecuteAsync(SavedCardSql.Wake, new { provider, read.Key, now }, cancel);
        await db.ListAsync<long>(ProviderEventSql.Receive, new
        {
            provider,
            @event = read.Id,
            read.Type,
            read.Key,
            read.Reference,
            read.Charge,
            read.Refund,
            ourKey = PaymentKey.IsOurs(read.Key) ? read.Key : null,
            // PostgreSQL has no character zero. What tells of a person's card is not kept.
            body = PaymentKey.IsCard(read.Key) ? "" : Encoding.UTF8.GetString(body).Replace('\0', ' '),
            now,
        }, cancel);
        return Results.Ok();
    }

    /// <summary>
    /// Counts it. Whoever sends thousands does not write a row for each: those within a second are written with the
    /// next one.
    /// </summary>
    async Task RefuseAsync(string provider, Problem problem, DateTime now, CancellationToken cancel)
    {
        long count;
        lock (gate)
        {
            refused++;
            if (now - counted < CountEvery) return;
            (count, refused, counted) = (refused, 0, now);
        }
        Log.Refused(log, provider, count, problem.Message);
        await db.ExecuteAsync(ProviderEventSql.Refuse,
            new { provider, now, hourAgo = now - TimeSpan.FromHours(1), count, problem = problem.Message }, cancel);
    }

    /// <summary>Null: it is too long.</summary>
    static async Task<byte[]?> ReadAsync(HttpRequest request, CancellationToken cancel)
    {
        if (request.ContentLength > MaxBytes) return null;
        using var all = new MemoryStream();
        var buffer = new byte[8192];
        int count;
        while ((count = await request.Body.ReadAsync(buffer, cancel)) > 0)
        {
            all.Write(buffer, 0, count);
            if (all.Length > MaxBytes) return null;
        }
        return all.ToArray();
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3410, Level = LogLevel.Warning,
            Message = "Events that claim to be of {Provider} were refused, {Count} since the last line: {Problem}")]
        public static partial void Refused(ILogger log, string provider, long count, string problem);
    }
}
