using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.BtcPay;

/// <summary>
/// Calls of BTCPay Server's Greenfield API. A call whose outcome is not known (no answer, an error of the server, a key
/// without the right) is Unavailable.
/// </summary>
sealed class BtcPayClient(HttpClient client, Uri url, string apiKey)
{
    const int MaxMessageChars = 200;

    public async Task<Outcome<JsonElement>> SendAsync(
        HttpMethod method, string path, object? body, CancellationToken cancel)
    {
        using var request = new HttpRequestMessage(method, new Uri(url, path));
        request.Headers.Authorization = new AuthenticationHeaderValue("token", apiKey);
        if (body is not null) request.Content = JsonContent.Create(body);
        try
        {
            using var response = await client.SendAsync(request, cancel);
            var text = await response.Content.ReadAsByteArrayAsync(cancel);
            if (!response.IsSuccessStatusCode) return Refusal(response.StatusCode, text);
            // What is only done has no answer.
            if (text.Length == 0) return default(JsonElement);
            using var document = JsonDocument.Parse(text);
            return document.RootElement.Clone();
        }
        catch (Exception error) when (error is HttpRequestException or IOException or JsonException
            || error is OperationCanceledException && !cancel.IsCancellationRequested)
        {
            return new Problem(ProblemKind.Unavailable, "BTCPay Server did not answer.", error.Message);
        }
    }

    /// <summary>
    /// A missing right is no answer: an operator gives it to the key, and the same call is made again.
    /// </summary>
    static Problem Refusal(HttpStatusCode status, byte[] body) => new(status switch
    {
        HttpStatusCode.NotFound => ProblemKind.NotFound,
        HttpStatusCode.BadRequest or HttpStatusCode.UnprocessableEntity => ProblemKind.Invalid,
        _ => ProblemKind.Unavailable,
    }, string.Create(CultureInfo.InvariantCulture, $"BTCPay Server answered {(int)status}.{Says(body)}"));

    /// <summary>An error is an object with a message; what is wrong with a request is a list of such.</summary>
    static string Says(byte[] body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            var root = document.RootElement;
            var all = root.ValueKind == JsonValueKind.Array ? root.EnumerateArray().ToList() : [root];
            var said = string.Join(' ', all.Select(e => e.Text("message")).Where(m => m is { Length: > 0 }));
            return said.Length == 0 ? "" : " " + said[..Math.Min(said.Length, MaxMessageChars)];
        }
        catch (JsonException)
        {
            // A proxy in between answers in its own words.
            return "";
        }
    }
}
