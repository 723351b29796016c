using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Logs;
using Npgsql;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db logs</c></summary>
public static class DbLogs
{
    static readonly Option<bool> Follow = new("--follow", "-f") { Description = "Follow new lines until Ctrl-C." };
    static readonly Option<string?> Since = new("--since")
    {
        Description = "From when: 90s, 30m, 2h, 7d ago, or a time in UTC such as 2026-02-15T03:00.",
        HelpName = "WHEN",
    };
    static readonly Option<bool> Slow = new("--slow")
    {
        Description =
        "Slow statements only, one per line: time, duration, name, and the beginning of the statement."
    };

    public static Command Make() => CommandLine.Verb("logs", """
        Shows the database server's own log: that of the private cluster (even when it is stopped), or that of an
        external server if the database user may read it; otherwise prints what to run there, and as which user.

        Examples:
          capsul db logs                   the most recent part
          capsul db logs --since 2h
          capsul db logs --follow
          capsul db logs --slow --since 7d
        """, RunAsync, Follow, Since, Slow);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var since = parsed.GetValue(Since) is { } text ? ParseSince(text, TimeProvider.System) : (DateTime?)null;
        if (DatabaseAddress.From(settings) is not { } address)
            return await ShowAsync(LocalLogFiles.Of(settings), since, parsed, cancel);
        await using var db = new Db(address.ConnectionString);
        try
        {
            await using var files = await RemoteLogFiles.OpenAsync(db, cancel);
            if (parsed.GetValue(Slow) && !files.NotesSlow)
                await Console.Error.WriteLineAsync("This server does not log slow statements. As an "
                    + "administrator: ALTER SYSTEM SET log_min_duration_statement = '250ms'; SELECT pg_reload_conf();");
            return await ShowAsync(files, since, parsed, cancel);
        }
        catch (NpgsqlException error)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    static async Task<int> ShowAsync(ILogFiles files, DateTime? since, ParseResult parsed, CancellationToken cancel)
    {
        var slow = parsed.GetValue(Slow);
        try
        {
            await foreach (var entry in new ServerLog(files).ReadAsync(since, parsed.GetValue(Follow), cancel))
            {
                if (!slow) Console.WriteLine(entry.Text);
                else if (ServerLog.AsSlow(entry) is { } statement)
                    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                        $"{statement.At:yyyy-MM-ddTHH:mm:ss.fffZ}  {statement.Milliseconds,10:0.0} ms  "
                            + $"{statement.Name}  {statement.Statement}"));
            }
        }
        catch (IOException)
        {
            // The reader (a pager, head) has closed the output.
        }
        return 0;
    }

    /// <summary>A time in UTC.</summary>
    /// <exception cref="ProblemException">Invalid.</exception>
    public static DateTime ParseSince(string text, TimeProvider time)
    {
        if (text.Length > 1
            && double.TryParse(text[..^1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var count))
        {
            TimeSpan? ago = text[^1] switch
            {
                's' => TimeSpan.FromSeconds(count),
                'm' => TimeSpan.FromMinutes(count),
                'h' => TimeSpan.FromHours(count),
                'd' => TimeSpan.FromDays(count),
                _ => null,
            };
            if (ago is { } known) return time.GetUtcNow().UtcDateTime - known;
        }
        return DateTime.TryParse(text, CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var at)
            ? at
            : throw new ProblemException(ProblemKind.Invalid,
                $"\"{text}\" is not a valid time: write 90s, 30m, 2h or 7d for that long ago, or a time in UTC "
                + "such as 2026-02-15T03:00.");
    }
}
