using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Images;

/// <summary>Adds a host's image to the catalog, or updates its description.</summary>
public static class OfferImage
{
    public static Task<Outcome<ImageRow>> RunAsync(
        Db db, string actor, string id, string? host, CancellationToken cancel) =>
        db.DecideAsync<ImageRow>(async transaction =>
        {
            var hosts = await transaction.ListAsync<string>(ImageSql.HostsWith, new { id }, cancel);
            if (Decide(id, host, hosts) is { } problem) return problem;
            await transaction.ExecuteAsync(ImageSql.Offer, new { id, host = host ?? hosts[0] }, cancel);
            await transaction.AuditAsync(actor, "offer_image", id, host ?? hosts[0], cancel);
            return (await transaction.FindAsync<ImageRow>(ImageSql.Find, new { image = id }, cancel))!;
        }, cancel);

    public static Problem? Decide(string id, string? host, IReadOnlyList<string> hosts) => hosts switch
    {
        [] => new(ProblemKind.NotFound, $"No host has an image called {id}."),
        [_, _, ..] when host is null => new(ProblemKind.Invalid,
            $"Several hosts have {id}: {string.Join(", ", hosts)}. Choose whose description to use with --host."),
        _ when host is not null && !hosts.Contains(host, StringComparer.Ordinal) =>
            new(ProblemKind.NotFound, $"{host} has no image called {id}."),
        _ => null,
    };
}
