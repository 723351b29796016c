using System.Text.Json;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>Reads JSON that may lack anything.</summary>
static class Json
{
    /// <summary>The object of that name; null if it is missing or something else.</summary>
    public static JsonElement? Get(this JsonElement from, string name) => from.ValueKind == JsonValueKind.Object
        && from.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Object ? value : null;

    public static string? Text(this JsonElement from, string name) => from.ValueKind == JsonValueKind.Object
        && from.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString() : null;

    public static long? Whole(this JsonElement from, string name) => from.ValueKind == JsonValueKind.Object
        && from.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number
        && value.TryGetInt64(out var number) ? number : null;

    public static bool IsTrue(this JsonElement from, string name) => from.ValueKind == JsonValueKind.Object
        && from.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.True;

    /// <summary>An ID, whether the object was expanded or not.</summary>
    public static string? Id(this JsonElement from, string name) => from.Text(name) ?? from.Get(name)?.Text("id");

    public static IEnumerable<JsonElement> List(this JsonElement from, string name) =>
        from.ValueKind == JsonValueKind.Object && from.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : [];
}
