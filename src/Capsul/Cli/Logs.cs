using Microsoft.Extensions.Logging.Console;

namespace Capsul.Cli;

/// <summary>
/// Logs of the long-running verbs: one line per message on standard error, only warnings from the framework.
/// </summary>
static class Logs
{
    public static Action<ILoggingBuilder> At(LogLevel level) => logs => logs
        .SetMinimumLevel(level)
        .AddFilter("Microsoft", LogLevel.Warning)
        .AddFilter("Grpc", LogLevel.Warning)
        .AddFilter("System", LogLevel.Warning)
        .AddSimpleConsole(line =>
        {
            line.SingleLine = true;
            line.TimestampFormat = "HH:mm:ss.fff ";
            line.UseUtcTimestamp = true;
            line.ColorBehavior = LoggerColorBehavior.Default;
        })
        .Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
}
