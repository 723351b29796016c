using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What the hypervisor writes to the log.</summary>
static partial class Log
{
    [LoggerMessage(EventId = 4100, Level = LogLevel.Information, Message = "Started {Id}: domain after {StartMs:0} ms, address served after {AllMs:0} ms.")]
    public static partial void Started(ILogger log, string id, double startMs, double allMs);

    [LoggerMessage(EventId = 4101, Level = LogLevel.Warning, Message = "Could not clean up {File} after a failure; removing the VM will.")]
    public static partial void LeftFile(ILogger log, string file, Exception error);
}
