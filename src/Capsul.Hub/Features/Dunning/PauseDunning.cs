using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Postgres.Backups;

namespace Capsul.Hub.Features.Dunning;

/// <summary>No account takes a further step. Those that pay still go back, and their VMs start.</summary>
public static class PauseDunning
{
    /// <summary>What is done after a restore, and the pause: payments since the backup may be lost.</summary>
    public static RestoreFence After(RestoreFence fence) =>
        fence with { Afterwards = $"{fence.Afterwards};\n{DunningPageSql.PauseAfterRestore}" };

    public static Task<Outcome<bool>> RunAsync(Db db, string actor, string? reason, CancellationToken cancel) =>
        Reason.Parse(reason).Refused(out var problem, out var why)
            ? Task.FromResult<Outcome<bool>>(problem)
            : SetAsync(db, actor, "pause_dunning", why, cancel);

    public static Task<Outcome<bool>> ResumeAsync(Db db, string actor, CancellationToken cancel) =>
        SetAsync(db, actor, "resume_dunning", "", cancel);

    static Task<Outcome<bool>> SetAsync(
        Db db, string actor, string action, string reason, CancellationToken cancel) =>
        db.DecideAsync<bool>(async transaction =>
        {
            await transaction.ExecuteAsync(DunningPageSql.Pause, new { reason }, cancel);
            await transaction.AuditAsync(actor, action, "", reason, cancel);
            return true;
        }, cancel);
}
