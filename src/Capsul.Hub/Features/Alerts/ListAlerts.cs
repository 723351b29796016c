using Capsul.Foundation;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Alerts;

/// <summary>The open alerts as lines of <c>capsul doctor</c>.</summary>
public static class ListAlerts
{
    public static async Task<IReadOnlyList<Finding>> FindingsAsync(Db db, CancellationToken cancel)
    {
        if (!await db.FindAsync<bool>(AlertSql.TableExists, null, cancel)) return [];
        return [.. (await db.ListAsync<AlertRow>(AlertSql.Open, null, cancel))
            .Select(a => new Finding(Verdict.Fail, "alert", $"since {a.Raised:yyyy-MM-ddTHH:mm:ssZ}: {a.Message}"))];
    }
}
