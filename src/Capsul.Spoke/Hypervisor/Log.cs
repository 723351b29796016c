using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Log messages of the hypervisor.</summary>
static partial class Log
{
    [LoggerMessage(EventId = 4100, Level = LogLevel.Information,
        Message = "Started {Id}: domain after {StartMs:0} ms, address served after {AllMs:0} ms.")]
    public static partial void Started(ILogger log, string id, double startMs, double allMs);

    [LoggerMessage(EventId = 4101, Level = LogLevel.Warning, Message =
        "Could not clean up {File} after a failure; it will be removed with the VM.")]
    public static partial void LeftFile(ILogger log, string file, Exception error);

    [LoggerMessage(EventId = 4102, Level = LogLevel.Warning, Message = "The images in {Folder} could not all be read.")]
    public static partial void ImagesUnread(ILogger log, string folder, Exception error);

    [LoggerMessage(EventId = 4103, Level = LogLevel.Warning, Message =
        "The filter table was missing and was recreated.")]
    public static partial void FilterGone(ILogger log, Exception error);

    [LoggerMessage(EventId = 4104, Level = LogLevel.Information,
        Message = "Found the running sandbox (process {Pid}).")]
    public static partial void FoundSandbox(ILogger log, int pid);

    [LoggerMessage(EventId = 4105, Level = LogLevel.Information, Message = "Created a sandbox (process {Pid}).")]
    public static partial void MadeSandbox(ILogger log, int pid);

    [LoggerMessage(EventId = 4106, Level = LogLevel.Information, Message = "Connected to libvirt at {Uri}.")]
    public static partial void Connected(ILogger log, string uri);

    [LoggerMessage(EventId = 4107, Level = LogLevel.Debug, Message =
        "Closing a broken connection to libvirt: {Reason}")]
    public static partial void ClosingBroken(ILogger log, string reason);

    [LoggerMessage(EventId = 4108, Level = LogLevel.Information, Message = "KVM: {Use}. {Why}")]
    public static partial void KvmDecided(ILogger log, bool use, string why);

    /// <summary>
    /// The moment at which libvirt is asked to start a domain; the benchmark "create" measures up to here.
    /// </summary>
    [LoggerMessage(EventId = 4109, Level = LogLevel.Debug, Message = "Starting {Id}.")]
    public static partial void Starting(ILogger log, string id);

    [LoggerMessage(EventId = 4110, Level = LogLevel.Information, Message =
        "{Id} was paused because the disk was full, and goes on.")]
    public static partial void Resuming(ILogger log, string id);

    [LoggerMessage(EventId = 4111, Level = LogLevel.Information, Message = "VMs have a way out of this host.")]
    public static partial void OpenedWayOut(ILogger log);

    [LoggerMessage(EventId = 4112, Level = LogLevel.Warning, Message = "{Why}")]
    public static partial void NoWayOut(ILogger log, string why);

    [LoggerMessage(EventId = 4113, Level = LogLevel.Warning, Message =
        "The rules of the VMs' way out were changed by somebody else, and were put back.")]
    public static partial void WayOutRulesGone(ILogger log);

    [LoggerMessage(EventId = 4114, Level = LogLevel.Warning, Message =
        "Rules of the VMs' filter were removed by somebody else, and were put back.")]
    public static partial void FilterRulesGone(ILogger log);

    [LoggerMessage(EventId = 4115, Level = LogLevel.Warning, Message = "The VMs' filter could not be checked: {Why}")]
    public static partial void FilterUnchecked(ILogger log, string why);
}
