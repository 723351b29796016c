using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Database.Text;

namespace Capsul.Hub.Database.Migrations;

/// <summary>One numbered script: up from <c>Version - 1</c> to <c>Version</c>, or down again. Its text is read when it is asked for.</summary>
public sealed partial class Migration(int version, bool up, string name, Func<byte[]> read)
{
    /// <summary>First line of a script whose statements run one by one, each on its own, because one of them cannot be in a transaction.</summary>
    public const string NoTransaction = "-- capsul: no transaction";

    /// <summary>Statements that would end or nest the migrator's transaction.</summary>
    static readonly string[] TransactionWords = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];

    string? sql;
    IReadOnlyList<SqlStatement>? statements;

    public int Version { get; } = version;

    public bool Up { get; } = up;

    /// <summary>The file's name.</summary>
    public string Name { get; } = name;

    /// <summary>Version before and after.</summary>
    public int From => Up ? Version - 1 : Version;

    public int To => Up ? Version : Version - 1;

    public string Sql => sql ??= new StreamReader(new MemoryStream(read()), Encoding.UTF8).ReadToEnd();

    public IReadOnlyList<SqlStatement> Statements => statements ??= [.. SqlText.Split(Sql)];

    public bool Transactional => Sql.AsSpan(0, Math.Max(0, Sql.AsSpan().IndexOf('\n'))).TrimEnd() is not NoTransaction;

    /// <summary>SHA-256 of the bytes: the cheap question.</summary>
    public string RawChecksum() => Convert.ToHexStringLower(SHA256.HashData(read()));

    /// <summary>Over the tokens: comments, blanks and line ends do not count.</summary>
    public string Checksum() => SqlText.Checksum(Sql);

    /// <summary>The first statement that would end or nest the transaction that the migrator holds.</summary>
    public SqlStatement? TransactionStatement => Statements.FirstOrDefault(s => s.Words(2) is [var first, ..] && TransactionWords.Contains(first, StringComparer.Ordinal)
        || s.Words(2) is ["PREPARE", "TRANSACTION"]);

    /// <summary>By the file's name, or null when it is no script's.</summary>
    public static Migration? Named(string name, Func<byte[]> read) => ScriptName().Match(name) is { Success: true } match
        ? new Migration(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), match.Groups[2].Value == "up", name, read) : null;

    [GeneratedRegex(@"^([0-9]{1,8})_(up|down)_[a-z0-9_]+\.sql$", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex ScriptName();
}

/// <summary>The scripts that lead from an empty database to the newest version, without gap or double.</summary>
public sealed class MigrationScripts
{
    readonly Dictionary<(int Version, bool Up), Migration> scripts;

    MigrationScripts(IEnumerable<Migration> found)
    {
        All = [.. found.OrderBy(s => s.Version).ThenByDescending(s => s.Up)];
        if (All.GroupBy(s => (s.Version, s.Up)).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new ProblemException(ProblemKind.Invalid, $"Two scripts have the same number: {string.Join(" and ", twice.Select(s => s.Name))}.");
        scripts = All.ToDictionary(s => (s.Version, s.Up));
        Newest = All.Where(s => s.Up).Select(s => s.Version).DefaultIfEmpty(0).Max();
        for (var version = 1; version <= Newest; version++)
        {
            if (!scripts.ContainsKey((version, true)))
                throw new ProblemException(ProblemKind.Invalid, $"There is no script {version:00}_up_….sql, but there is one for version {Newest}.");
        }
    }

    /// <summary>The scripts inside this program.</summary>
    public static MigrationScripts Embedded { get; } = new(FindEmbedded());

    /// <summary>Those of a folder; other files in it are left alone.</summary>
    public static MigrationScripts FromFolder(string folder) => new(Find(folder));

    /// <summary>All scripts of a folder, whether or not they make a whole set.</summary>
    public static IEnumerable<Migration> Find(string folder) => Directory.EnumerateFiles(folder, "*.sql")
        .Select(file => Migration.Named(Path.GetFileName(file), () => File.ReadAllBytes(file))).OfType<Migration>();

    /// <summary>By version, up before down.</summary>
    public IReadOnlyList<Migration> All { get; }

    /// <summary>The version that all of them together give.</summary>
    public int Newest { get; }

    public Migration Up(int version) => scripts[(version, true)];

    public Migration? Down(int version) => scripts.GetValueOrDefault((version, false));

    static IEnumerable<Migration> FindEmbedded()
    {
        const string prefix = "migrations/";
        var assembly = typeof(Migration).Assembly;
        return assembly.GetManifestResourceNames().Where(n => n.StartsWith(prefix, StringComparison.Ordinal))
            .Select(resource => Migration.Named(resource[prefix.Length..], () =>
            {
                using var stream = assembly.GetManifestResourceStream(resource)!;
                var bytes = new byte[stream.Length];
                stream.ReadExactly(bytes);
                return bytes;
            })).OfType<Migration>();
    }
}
