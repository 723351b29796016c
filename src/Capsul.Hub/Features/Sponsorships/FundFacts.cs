using Capsul.Hub.Features.Closings;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>What several use cases of the fund ask.</summary>
static class FundFacts
{
    /// <summary>It is being closed, or is closed.</summary>
    public static async Task<bool> IsClosingAsync(
        NpgsqlTransaction transaction, string email, CancellationToken cancel) =>
        await transaction.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email }, cancel) is not null;
}
