using System.CommandLine;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db lint</c>: what scripts would do to a database in use. Needs no database.</summary>
static class DbLint
{
    static readonly Argument<string[]> Files =
        new("FILE") { Description = "Scripts. Default: those inside this program.", Arity = ArgumentArity.ZeroOrMore };

    public static Command Make() => CommandLine.Verb("lint", """
        Reads migration scripts and warns about long locks, data loss, partial failure, and scripts without a down
        script. Exit code 1 when a finding is an error.

        Examples:
          capsul db lint
          capsul db lint schema_migrations/05_up_things.sql
        """, RunAsync, Files);

    static Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var files = parsed.GetValue(Files) ?? [];
        var findings = files.Length == 0
            ? Lint.Check(MigrationScripts.Embedded.All, wholeSet: true)
            : Lint.Check([.. files.Select(Read)], wholeSet: false);
        foreach (var finding in findings)
            Console.WriteLine($"{finding.File}:{finding.Line}: {(finding.Error ? "error" : "warning")} {finding.Rule}: "
                + $"{finding.Says} Instead: {finding.Instead}");
        var errors = findings.Count(f => f.Error);
        Console.WriteLine(findings.Count == 0 ? "No findings."
            : $"{errors} error{(errors == 1 ? "" : "s")}, "
            + $"{findings.Count - errors} warning{(findings.Count - errors == 1 ? "" : "s")}. "
            + "To accept a finding: -- lint: accept RULE because …");
        return Task.FromResult(errors == 0 ? 0 : 1);
    }

    static Migration Read(string file)
    {
        try
        {
            var bytes = File.ReadAllBytes(file);
            return Migration.Named(Path.GetFileName(file), () => bytes)
                ?? throw new ProblemException(ProblemKind.Invalid,
                    $"{file} does not have the name of a script: NN_up_what.sql or NN_down_what.sql, in lower case.");
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.NotFound, $"{file} cannot be read: {error.Message}", null, error);
        }
    }
}
