using System.Reflection;
using System.Text.RegularExpressions;
using Capsul.Fleet;
using Capsul.Hub;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.House;

/// <summary>Every statement is valid for the migrated schema, begins with its name, and is in the right file.</summary>
public sealed partial class SqlTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    internal static IEnumerable<(string Name, string Sql)> Statements() =>
        from type in typeof(HubProgram).Assembly.GetTypes().Concat(typeof(Db).Assembly.GetTypes())
            .Append(typeof(FleetSql))
        where type.Name.EndsWith("Sql", StringComparison.Ordinal)
        // Private fields are fragments of statements.
        from field in type.GetFields(BindingFlags.Static | BindingFlags.Public)
        where field is { IsLiteral: true, FieldType.Name: "String" }
        let sql = (string)field.GetRawConstantValue()!
        where Verb().IsMatch(sql)
        select ($"{type.Name}.{field.Name}", sql);

    static string Source => Path.Combine(Golden.Root, "src");

    /// <summary>Source files of the two projects with statements.</summary>
    static IEnumerable<string> Sources() => ((string[])["Capsul.Hub", "Capsul.Postgres"])
        .SelectMany(p => Directory.EnumerateFiles(Path.Combine(Source, p), "*.cs", SearchOption.AllDirectories))
        .Where(f => !f.Contains("/obj/", StringComparison.Ordinal) && !f.Contains("/bin/", StringComparison.Ordinal));

    /// <summary>PREPARE only supports queries and data changes.</summary>
    internal static readonly string[] CannotBePrepared =
        ["MigratorSql.MakeVersion", "MigratorSql.MakeRecords", "ListenerSql.Listen",
            "BackupSql.MarkTransaction", "BackupSql.CheckTransaction",
            "ClusterSql.MakeDatabase", "ClusterSql.HandOver", "OperationSql.BeginAgain",
            "DunningPageSql.PauseAfterRestore"];

    [Fact]
    public void A_row_record_stands_beside_its_statements() =>
        typeof(HubProgram).Assembly.GetTypes().Concat(typeof(Db).Assembly.GetTypes())
            .Where(t => t is { IsNested: true, DeclaringType.Name: var outer }
                && outer.EndsWith("Sql", StringComparison.Ordinal)
                && t.GetMethod("<Clone>$") is not null)
            .Select(t => t.FullName).ShouldBeEmpty();

    [Fact]
    public async Task Every_statement_prepares_against_the_schema()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var connection = await database.Db.OpenAsync(Cancel);
        var wrong = new List<string>();
        foreach (var (name, sql) in Statements().Where(s => !CannotBePrepared.Contains(s.Name, StringComparer.Ordinal)))
        {
            try
            {
                await using var prepare = new NpgsqlCommand($"PREPARE s AS {Positional(sql)}", connection);
                await prepare.ExecuteNonQueryAsync(Cancel);
                await using var free = new NpgsqlCommand("DEALLOCATE s", connection);
                await free.ExecuteNonQueryAsync(Cancel);
            }
            catch (PostgresException error)
            {
                wrong.Add($"{name}: {error.MessageText}");
            }
        }
        wrong.ShouldBeEmpty();
        Statements().Count().ShouldBeGreaterThan(60, "the test must have found the statements");
    }

    [Fact]
    public void Every_statement_begins_with_its_own_name() =>
        Statements().Where(s => !s.Sql.TrimStart().StartsWith($"-- {s.Name}\n", StringComparison.Ordinal))
            .Select(s => s.Name).ShouldBeEmpty();

    /// <summary>
    /// PostgreSQL reads an @ that no parameter replaced as "absolute value", which silently changes the statement.
    /// </summary>
    [Fact]
    public void Parameters_are_written_as_in_the_code() =>
        Statements().Where(s => SnakeParameter().IsMatch(s.Sql)).Select(s => s.Name).ShouldBeEmpty();

    [Fact]
    public void Statements_are_only_in_sql_files()
    {
        Sources().Where(
            f => !f.EndsWith("Sql.cs", StringComparison.Ordinal) && StatementInCode().IsMatch(File.ReadAllText(f)))
            .Select(f => Path.GetRelativePath(Source, f)).Order(StringComparer.Ordinal).ToList()
            .ShouldBe(["Capsul.Postgres/Backups/BackupFile.cs"], "it searches dumps for statements");
    }

    /// <summary>Any code may read a table; only the files of one folder write it.</summary>
    [Fact]
    public void A_table_is_written_from_one_folder_only()
    {
        var writers = (from file in Sources().Where(f => f.EndsWith("Sql.cs", StringComparison.Ordinal))
                       from Match match in Write().Matches(File.ReadAllText(file))
                       group Path.GetRelativePath(Source, Path.GetDirectoryName(file)!) by match.Groups["table"].Value)
            .ToList();
        writers.Count.ShouldBeGreaterThan(15, "the test must have found the tables");
        writers.Where(w => w.Distinct(StringComparer.Ordinal).Count() > 1)
            .Select(w => $"{w.Key}: {string.Join(", ", w.Distinct(StringComparer.Ordinal))}").ShouldBeEmpty();
    }

    /// <summary>
    /// Background work writes only while its epoch is in force. The outcome of an email is the exception: it is
    /// recorded under the number of the attempt.
    /// </summary>
    [Fact]
    public void Background_work_holds_the_seat_when_it_writes()
    {
        var source = Path.Combine(Golden.Root, "src", "Capsul.Hub");
        string[] files =
        [
            "Engine/Runner.cs", "Features/Mails/MailSender.cs",
            .. new[] { "Link", "Reconcilers" }.SelectMany(folder =>
                Directory.EnumerateFiles(Path.Combine(source, folder), "*.cs")
                    .Select(f => Path.GetRelativePath(source, f))),
        ];
        var bare = from file in files
                   from Match write in BareWrite().Matches(File.ReadAllText(Path.Combine(source, file)))
                   select file;
        // Joining, renewing and the use of a new certificate are requests, which any Hub answers.
        bare.Order(StringComparer.Ordinal).ShouldBe([.. Enumerable.Repeat("Features/Mails/MailSender.cs", 2),
            "Link/HostAuthentication.cs", .. Enumerable.Repeat("Link/LinkEndpoint.cs", 2)]);
    }

    [Fact]
    public async Task Constraints_with_a_message_exist()
    {
        await using var database = await TestDatabase.CreateAsync();
        var real = await database.Db.ListAsync<string>(
            """
            SELECT conname::text FROM pg_constraint UNION SELECT indexrelid::regclass::text FROM pg_index
            UNION SELECT (regexp_matches(prosrc, 'CONSTRAINT = ''([a-z_]+)''', 'g'))[1] FROM pg_proc
            """, null, Cancel);
        Constraints.Names.Except(real, StringComparer.Ordinal).ShouldBeEmpty();
    }

    /// <summary>Named parameters become $1, $2 …; PostgreSQL infers their types.</summary>
    internal static string Positional(string sql) => Positional(sql, []);

    /// <summary>With $1, $2 and so on in place of the parameters, whose names are added in that order.</summary>
    internal static string Positional(string sql, List<string> names)
    {
        return Parameter().Replace(sql, match =>
        {
            var index = names.IndexOf(match.Value);
            if (index < 0)
            {
                names.Add(match.Value);
                index = names.Count - 1;
            }
            return $"${index + 1}";
        });
    }

    [GeneratedRegex(@"\b(SELECT|INSERT|UPDATE|DELETE|LISTEN|CREATE)\b", RegexOptions.None, 1000)]
    private static partial Regex Verb();

    [GeneratedRegex(@"\b(INSERT INTO|DELETE FROM|(?<!FOR )(?<!DO )UPDATE) (?<table>[a-z_]+)",
        RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Write();

    [GeneratedRegex(@"(?<![@<&|\w])@[a-zA-Z]\w*", RegexOptions.None, 1000)]
    private static partial Regex Parameter();

    [GeneratedRegex(@"(?<![@<&|\w])@[a-zA-Z]+_\w*", RegexOptions.None, 1000)]
    private static partial Regex SnakeParameter();

    [GeneratedRegex(@"\bdb\.(Execute|InTransaction|Decide)Async(<\w+>)?\(", RegexOptions.None, 1000)]
    private static partial Regex BareWrite();

    [GeneratedRegex("\"(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE) "
        + "|\"\"\"\\s+(-- .*\\s+)?(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) ", RegexOptions.None, 1000)]
    private static partial Regex StatementInCode();
}
