using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Statements;
using Microsoft.Win32.SafeHandles;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul sql</c>: runs SQL on the configured database, with output that scripts can rely on.</summary>
static class SqlVerb
{
    /// <summary>Exit codes: a statement failed; and a shell's for a program terminated by SIGPIPE or SIGTERM.</summary>
    const int Failed = 3, OutputClosed = 128 + 13, Terminated = 128 + 15, Interrupted = 128 + 2;

    /// <summary>Scripts are read into memory; use psql for larger dumps.</summary>
    const long LargestScript = 500_000_000;

    static readonly Option<string[]> Text = new("-c", "--command")
    {
        Description = "SQL, one or more statements. May "
        + "be given several times, and mixed with -f; they run in the order given.",
        HelpName = "SQL"
    };
    static readonly Option<string[]> Files = new("-f", "--file")
    {
        Description = "A file of SQL; - is standard input. May be given several times.",
        HelpName = "FILE",
    };
    static readonly Option<bool> Header =
        new("--header") { Description = "Column names first (text and csv; the other formats have them anyway)." };
    static readonly Option<string> Format = new("--format")
    {
        Description = "text, csv, json, markdown or table.",
        DefaultValueFactory = _ => "text",
        HelpName = "FORMAT",
    };
    static readonly Option<bool> ReadOnly = new("--read-only") { Description = "Run in a read-only transaction." };
    static readonly Option<double> Timeout = new("--timeout")
    {
        Description =
        "Time limit for each statement, in seconds. 0: no limit.",
        HelpName = "SECONDS"
    };
    static readonly Option<bool> Yes =
        new("--yes", "-y") { Description = "Runs an UPDATE or DELETE without WHERE, or a TRUNCATE, without asking." };

    public static Command Make() => CommandLine.Verb("sql", """
        Runs SQL on the configured database, whether the Hub is running or not. Without -c and -f it starts an
        interactive psql, or reads SQL from standard input when that is not a terminal. It never migrates the schema.

        Each statement prints its own result: rows with their values joined by ", " and without a header, NULL for null,
        TRUE and FALSE, times as 2020-05-05T00:00:00 in UTC, everything else as PostgreSQL prints it; then
        "1 rows affected." for INSERT, UPDATE, DELETE and MERGE, and the command tag for the others.

        All statements of one call run in one transaction: if one fails, nothing is changed, its line and position are
        shown, and the exit code is 3. (Output of earlier statements has already been printed.) BEGIN and COMMIT in a
        script are honored; statements outside of them are one transaction up to the next BEGIN or the end. VACUUM and
        similar statements run alone, or beside a BEGIN … COMMIT.

        Statements that change data are logged in the table operator_statements, with who ran them and when.

        When the reader of the output closes it (| head) or Ctrl-C is pressed, the statement is canceled on the server
        and everything is rolled back; the exit codes are 141 and 130.

        Examples:
          capsul sql -c 'SELECT * FROM vms'
          capsul sql -c "UPDATE payments SET invalidated = True WHERE id = 1"
          capsul sql -f test.sql
          capsul sql --format csv --header -c 'TABLE payments' > payments.csv
          capsul sql -c 'COPY payments TO STDOUT' | gzip > payments.gz
          capsul sql --read-only --timeout 10
        """, RunAsync, Text, Files, Header, Format, ReadOnly, Timeout, Yes);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (format, timeout) = (FormatOf(parsed), TimeoutOf(parsed));
        var parts = await PartsAsync(parsed, cancel);
        if (parts.Count == 0) return await PsqlAsync(parsed.GetValue(ReadOnly), timeout, cancel);
        var script = Script.Read(parts);
        CheckInput(parts, script);
        var terminated = false;
        using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, _ => terminated = true);
        try
        {
            await using var database = await CliDatabase.ConnectAsync(Settings.Load(), cancel);
            var output = RowOutput.Make(format, parsed.GetValue(Header), OpenOutput(), Console.Error);
            await using var run =
                await StatementRun.OpenAsync(database.Db, output, Console.Error, Console.OpenStandardInput(),
                    new RunOptions(OperatorName(), parsed.GetValue(ReadOnly), timeout), cancel);
            if (!parsed.GetValue(Yes) && !await MayChangeAllAsync(run, parts, script, cancel)) return 1;
            await run.RunAsync(script, cancel);
            return 0;
        }
        catch (StatementException error)
        {
            await Console.Error.WriteLineAsync($"capsul: {error.Message}");
            return Failed;
        }
        catch (ClosedOutputException)
        {
            return OutputClosed;
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            return terminated ? Terminated : Interrupted;
        }
    }

    static RowFormat FormatOf(ParseResult parsed) => parsed.GetValue(Format) switch
    {
        "text" => RowFormat.Text,
        "csv" => RowFormat.Csv,
        "json" => RowFormat.Json,
        "markdown" => RowFormat.Markdown,
        "table" => RowFormat.Table,
        var other => throw new ProblemException(
            ProblemKind.Invalid, $"--format is text, csv, json, markdown or table; \"{other}\" is none of them."),
    };

    static TimeSpan TimeoutOf(ParseResult parsed)
    {
        var seconds = parsed.GetValue(Timeout);
        // The server's limit is milliseconds in 31 bits.
        return seconds is 0 or >= 0.001 and <= 2_000_000 ? TimeSpan.FromSeconds(seconds)
            : throw new ProblemException(
                ProblemKind.Invalid, "--timeout takes seconds from 0.001 to 2000000, or 0 for no limit.");
    }

    /// <summary>In the order of the command line, which the parser does not keep across two options.</summary>
    static async Task<List<ScriptPart>> PartsAsync(ParseResult parsed, CancellationToken cancel)
    {
        var given = new List<(bool File, string Value)>();
        bool? file = null;
        foreach (var token in parsed.Tokens)
        {
            if (token.Type == TokenType.Option)
                file = token.Value is "-f" or "--file" ? true : token.Value is "-c" or "--command" ? false : null;
            else if (token.Type == TokenType.Argument && file is { } isFile) given.Add((isFile, token.Value));
        }
        if (given.Count == 0 && Console.IsInputRedirected) given.Add((true, "-"));
        if (given.Count(g => g is (true, "-")) > 1)
            throw new ProblemException(
                ProblemKind.Invalid, "Standard input can be read only once, but -f - is given twice.");
        var parts = new List<ScriptPart>();
        foreach (var (isFile, value) in given)
        {
            var name = given.Count == 1 && (!isFile || value == "-")
                ? ""
                : !isFile ? $"-c {parts.Count + 1}" : value == "-" ? "standard input" : value;
            parts.Add(new ScriptPart(name, isFile ? await ReadAsync(value, cancel) : value, Inline: isFile));
        }
        return parts;
    }

    static async Task<string> ReadAsync(string file, CancellationToken cancel)
    {
        try
        {
            await using var stream = file == "-" ? Console.OpenStandardInput() : File.OpenRead(file);
            if (stream.CanSeek && stream.Length > LargestScript)
                throw new ProblemException(ProblemKind.Invalid, $"{file} is larger than {LargestScript / 1_000_000} "
                    + "MB; run capsul sql without -f and load it with psql's \\i.");
            using var reader = new StreamReader(
                stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true));
            return await reader.ReadToEndAsync(cancel);
        }
        catch (DecoderFallbackException error)
        {
            throw new ProblemException(
                ProblemKind.Invalid, $"{(file == "-" ? "Standard input" : file)} is not UTF-8 text.", null, error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(error is FileNotFoundException or DirectoryNotFoundException
                ? ProblemKind.NotFound
                : ProblemKind.Unavailable, $"{file} cannot be read: {error.Message}", null, error);
        }
    }

    static void CheckInput(List<ScriptPart> parts, IReadOnlyList<ScriptStatement> script)
    {
        var users = script.Count(s => s.Shape.Kind == StatementKind.CopyIn && s.Data is null)
            + parts.Count(p => p.Inline && p.Name is "" or "standard input");
        if (users > 1) throw new ProblemException(ProblemKind.Invalid,
            "Standard input can be read only once, and more than one part of this call needs it.");
    }

    /// <summary>UPDATE or DELETE without WHERE: a person is asked to confirm, a script needs --yes.</summary>
    static async Task<bool> MayChangeAllAsync(
        StatementRun run, List<ScriptPart> parts, IReadOnlyList<ScriptStatement> script, CancellationToken cancel)
    {
        foreach (var statement in script)
        {
            foreach (var whole in statement.Shape.WholeTables)
            {
                var says = whole.Says;
                if (Console.IsInputRedirected || Console.IsErrorRedirected)
                    throw new ProblemException(ProblemKind.Invalid,
                        $"{statement.Place(statement.Sql.Line)}: {says} every row of {whole.Table}. If that is "
                        + "intended, add --yes; nothing was changed.");
                var rows = await run.RowsOfAsync(whole.Table, cancel);
                await Console.Error.WriteAsync(rows is null ? $"{says} every row of {whole.Table}. Continue? [y/N] "
                    : string.Create(CultureInfo.InvariantCulture,
                        $"{says} all {rows:N0} rows of {whole.Table}. Continue? [y/N] "));
                if ((await Console.In.ReadLineAsync(cancel))?.Trim() is not ("y" or "Y" or "yes"))
                    return await DeclinedAsync();
            }
        }
        return true;
    }

    static async Task<bool> DeclinedAsync()
    {
        await Console.Error.WriteLineAsync("Nothing was changed.");
        return false;
    }

    /// <summary>
    /// psql on this terminal. It gets the address from the environment, and uses the person's own psqlrc.
    /// </summary>
    static async Task<int> PsqlAsync(bool readOnly, TimeSpan timeout, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        var psql = PostgresPrograms.Make(settings.PostgresBin, database.Db.Address, "psql");
        var options = (readOnly ? "-c default_transaction_read_only=on " : "")
            + (timeout > TimeSpan.Zero ? $"-c statement_timeout={timeout.TotalMilliseconds:0}" : "");
        var environment = new Dictionary<string, string?>(psql.Environment, StringComparer.Ordinal)
        { ["PGOPTIONS"] = options.Length > 0 ? options : null };
        return await (psql with { Environment = environment })
            .RunAttachedAsync(cancel);
    }

    /// <summary>For example jo@hub1; under sudo the person who called it.</summary>
    static string OperatorName() =>
        (Environment.GetEnvironmentVariable("SUDO_USER") is { Length: > 0 } person ? person : Environment.UserName)
            + $"@{Environment.MachineName}";

    /// <summary>
    /// .NET's own stream for standard output ignores a closed pipe; a file stream reports it, but keeps its own
    /// position and would overwrite what others append to the same file. So a file stream is used for pipes only.
    /// </summary>
    static Stream OpenOutput()
    {
        var file = new FileStream(new SafeFileHandle(1, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        return file.CanSeek ? Console.OpenStandardOutput() : file;
    }
}
