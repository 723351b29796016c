using Capsul.Hub.Leadership;
using Capsul.Postgres.Backups;

namespace Capsul.Hub.Engine;

/// <summary>What was running in a backup is done again when that is restored, with all its time.</summary>
public static class BeginAgain
{
    public static RestoreFence AfterRestore { get; } = SeatLock.ForRestore with
    {
        Afterwards = $"{SeatLock.ForRestore.Afterwards};\n{OperationSql.BeginAgain}",
    };
}
