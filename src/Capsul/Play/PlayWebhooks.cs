using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Capsul.Hub.Features.Payments.Stripe;

namespace Capsul.Play;

/// <summary>Sends events as Stripe does: signed, at least once, in no certain order.</summary>
public sealed class PlayWebhooks(string secret, TimeProvider time) : IDisposable
{
    /// <summary>Events sent at a time.</summary>
    const int AtOnce = 8;

    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(20), TryAgainAfter = TimeSpan.FromMilliseconds(200);

    /// <summary>A Hub that is away for so many tries in a row does not get the event.</summary>
    const int MaxTries = 100;

    readonly ConcurrentQueue<string> waiting = new();
    readonly HttpClient client = new() { Timeout = Timeout };
    int made;

    /// <summary>Null: nobody listens, and events are lost.</summary>
    public Uri? To { get; set; }

    /// <summary>Events that were accepted, repeated ones too.</summary>
    public int Accepted => accepted;

    int accepted;

    /// <summary>Makes an event, which is sent with the next ones.</summary>
    public void Tell(string type, JsonObject about) => waiting.Enqueue(new JsonObject
    {
        ["id"] = "evt_play" + Interlocked.Increment(ref made).ToString("D8", CultureInfo.InvariantCulture),
        ["object"] = "event",
        ["api_version"] = "2024-06-20",
        ["created"] = time.GetUtcNow().ToUnixTimeSeconds(),
        ["type"] = type,
        ["livemode"] = false,
        ["data"] = new JsonObject { ["object"] = about.DeepClone() },
    }.ToJsonString());

    public async Task SendAsync(PlayFaults faults, CancellationToken cancel)
    {
        var events = new List<string>();
        while (waiting.TryDequeue(out var next))
        {
            if (faults.Draw(faults.LostEvents)) continue;
            events.Add(next);
            if (faults.Draw(faults.RepeatedEvents)) events.Add(next);
        }
        var order = events.ToArray();
        if (faults.ShufflesEvents) faults.Shuffle(order);
        if (To is null) return;
        await Parallel.ForEachAsync(order,
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancel },
            async (body, token) => await SendAsync(body, faults, token));
    }

    async Task SendAsync(string body, PlayFaults faults, CancellationToken cancel)
    {
        for (var n = 0; n < MaxTries; n++)
        {
            if (await TrySendAsync(body, cancel) && !faults.Draw(faults.LateEventAnswers)) return;
            await Task.Delay(TryAgainAfter, TimeProvider.System, cancel);
        }
    }

    /// <summary>False: it was not accepted, and is to be sent again.</summary>
    async Task<bool> TrySendAsync(string body, CancellationToken cancel)
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, To)
            { Content = new StringContent(body, Encoding.UTF8, "application/json") };
            request.Headers.Add(StripeSignature.Header, Sign(body));
            using var response = await client.SendAsync(request, cancel);
            if (response.IsSuccessStatusCode) Interlocked.Increment(ref accepted);
            return response.IsSuccessStatusCode;
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException
            && !cancel.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>The header of an event.</summary>
    public string Sign(string body)
    {
        var seconds = time.GetUtcNow().ToUnixTimeSeconds();
        var signature = StripeSignature.Make(secret, seconds, Encoding.UTF8.GetBytes(body));
        return string.Create(CultureInfo.InvariantCulture, $"t={seconds},v1={signature}");
    }

    public void Dispose() => client.Dispose();
}
