using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// Calls of Stripe's API: forms there, JSON back. A call whose outcome is not known (no answer, an error of the server,
/// the same key still at work) is Unavailable; Stripe remembers an idempotency key for a day, so it is made again.
/// (https://docs.stripe.com/api, https://docs.stripe.com/api/idempotent_requests)
/// </summary>
sealed class StripeClient(HttpClient client, Uri api, string secretKey)
{
    /// <summary>So that Stripe's later changes of answers do not change what we read.</summary>
    public const string ApiVersion = "2024-06-20";

    public Task<Outcome<JsonElement>> PostAsync(
        string path, string idempotencyKey, IEnumerable<KeyValuePair<string, string>> form, CancellationToken cancel)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(api, path))
        { Content = new FormUrlEncodedContent(form) };
        request.Headers.Add("Idempotency-Key", idempotencyKey);
        return SendAsync(request, cancel);
    }

    public Task<Outcome<JsonElement>> GetAsync(string path, CancellationToken cancel) =>
        SendAsync(new HttpRequestMessage(HttpMethod.Get, new Uri(api, path)), cancel);

    async Task<Outcome<JsonElement>> SendAsync(HttpRequestMessage message, CancellationToken cancel)
    {
        using var request = message;
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", secretKey);
        request.Headers.Add("Stripe-Version", ApiVersion);
        try
        {
            using var response = await client.SendAsync(request, cancel);
            var body = await response.Content.ReadAsByteArrayAsync(cancel);
            if (response.IsSuccessStatusCode) return Parse(body);
            return response.StatusCode == HttpStatusCode.PaymentRequired && Declined(body) is { } charge
                ? charge : Refusal(response.StatusCode, body);
        }
        catch (Exception error) when (error is HttpRequestException or IOException
            || error is OperationCanceledException && !cancel.IsCancellationRequested)
        {
            return Unknown("Stripe did not answer.", error.Message);
        }
        catch (JsonException error)
        {
            return Unknown("Stripe's answer is no JSON.", error.Message);
        }
    }

    static JsonElement Parse(byte[] body)
    {
        using var document = JsonDocument.Parse(body);
        return document.RootElement.Clone();
    }

    /// <summary>
    /// A card was declined: that is no refusal of the call, and the charge that was made says it itself.
    /// (https://docs.stripe.com/api/errors)
    /// </summary>
    static JsonElement? Declined(byte[] body) => Parse(body).Get("error")?.Get("payment_intent");

    /// <summary>Stripe's messages are for developers; they never contain the key.</summary>
    static Problem Refusal(HttpStatusCode status, byte[] body)
    {
        var (number, says, type) = ((int)status, "", "");
        try
        {
            var error = Parse(body).Get("error");
            (says, type) = (error?.Text("message") ?? "", error?.Text("type") ?? "");
        }
        catch (JsonException)
        {
            // A proxy in between answers in its own words.
        }
        var what = string.Create(CultureInfo.InvariantCulture, $"Stripe answered {number}: {says}").TrimEnd(':', ' ');
        return status switch
        {
            // The key is wrong or lacks a right: an operator repairs it, and the same call is made again.
            HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.Conflict
                or HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests => Unknown(what),
            // What was done with that key, with other parameters, is not known.
            _ when type == "idempotency_error" => Unknown(what),
            HttpStatusCode.NotFound => new Problem(ProblemKind.NotFound, what),
            _ => number is >= 400 and < 500 ? new Problem(ProblemKind.Invalid, what) : Unknown(what),
        };
    }

    static Problem Unknown(string what, string? detail = null) => new(ProblemKind.Unavailable, what, detail);
}
