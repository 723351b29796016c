using System.Buffers;
using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// One numbered script: up from <c>Version - 1</c> to <c>Version</c>, or down again. Its text is read on first use.
/// </summary>
public sealed class Migration(int version, bool up, string name, Func<byte[]> read)
{
    /// <summary>
    /// First line of a script whose statements run one by one, because one of them cannot run in a transaction.
    /// </summary>
    public const string NoTransaction = "-- capsul: no transaction";

    /// <summary>Statements that would end or nest the migrator's transaction.</summary>
    static readonly string[] TransactionWords = ["BEGIN", "START", "COMMIT",
        "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];

    /// <summary>More digits would not fit into an integer.</summary>
    const int MaxDigits = 8;
    static readonly SearchValues<char> NameCharacters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789_");

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

    /// <summary>SHA-256 of the bytes: the cheap comparison.</summary>
    public string RawChecksum() => Convert.ToHexStringLower(SHA256.HashData(read()));

    /// <summary>SHA-256 of the tokens: comments, whitespace and line ends do not count.</summary>
    public string Checksum() => SqlText.Checksum(Sql);

    /// <summary>The first statement that would end or nest the transaction that the migrator holds.</summary>
    public SqlStatement? TransactionStatement =>
        Statements.FirstOrDefault(s => s.Words(2) is [var first, ..]
        && TransactionWords.Contains(first, StringComparer.Ordinal)
        || s.Words(2) is ["PREPARE", "TRANSACTION"]);

    /// <summary>
    /// Parses the file name, <c>NN_up_what.sql</c> or <c>NN_down_what.sql</c>; null if it is not a script's.
    /// </summary>
    public static Migration? Named(string name, Func<byte[]> read)
    {
        // Without a regex: thousands of names are read at each start.
        var digits = name.AsSpan().IndexOfAnyExceptInRange('0', '9');
        if (digits is < 1 or > MaxDigits || !name.EndsWith(".sql", StringComparison.Ordinal)) return null;
        var rest = name.AsSpan(digits, name.Length - digits - ".sql".Length);
        var up = rest.StartsWith("_up_", StringComparison.Ordinal);
        if (!up && !rest.StartsWith("_down_", StringComparison.Ordinal)) return null;
        var what = rest[(up ? "_up_" : "_down_").Length..];
        return what.Length == 0 || what.ContainsAnyExcept(NameCharacters)
            ? null : new Migration(int.Parse(name.AsSpan(0, digits), CultureInfo.InvariantCulture), up, name, read);
    }
}

/// <summary>The scripts from an empty database to the newest version, without gaps or duplicates.</summary>
public sealed class MigrationScripts
{
    readonly Migration?[] ups, downs;

    MigrationScripts(IEnumerable<Migration> found, string? identity)
    {
        Identity = identity;
        Migration[] all = [.. found];
        Array.Sort(all, (a, b) => a.Version != b.Version ? a.Version.CompareTo(b.Version) : b.Up.CompareTo(a.Up));
        All = all;
        Newest = all.LastOrDefault(s => s.Up)?.Version ?? 0;
        // A huge number is a gap, and must not allocate an array of its size.
        if (Newest > all.Length)
            throw Gap(Enumerable.Range(1, Newest).Except(all.Where(s => s.Up).Select(s => s.Version)).First());
        (ups, downs) = (new Migration?[Newest + 1], new Migration?[Newest + 1]);
        foreach (var script in all.Where(s => s.Version <= Newest))
        {
            ref var place = ref (script.Up ? ups : downs)[script.Version];
            if (place is not null)
                throw new ProblemException(ProblemKind.Invalid,
                $"Two scripts have the same number: {place.Name} and {script.Name}.");
            place = script;
        }
        if (Array.IndexOf(ups, null, 1) is var gap and > 0) throw Gap(gap);
    }

    ProblemException Gap(int version) =>
        new(ProblemKind.Invalid, $"There is no script {version:00}_up_….sql, but there is one for version {Newest}.");

    /// <summary>The scripts embedded in this program.</summary>
    public static MigrationScripts Embedded { get; } = FromAssembly(typeof(Migration).Assembly);

    /// <summary>Scripts embedded as resources <c>migrations/NN_up_what.sql</c>.</summary>
    public static MigrationScripts FromAssembly(Assembly assembly) =>
        new(Find(assembly), assembly.ManifestModule.ModuleVersionId.ToString());

    /// <summary>The scripts of a folder; other files are ignored.</summary>
    public static MigrationScripts FromFolder(string folder) => new(Find(folder), null);

    /// <summary>
    /// Identifies the scripts: the ID that the compiler assigns to each build. Null for files, which may change at any
    /// time.
    /// </summary>
    public string? Identity { get; }

    /// <summary>All scripts of a folder, whether or not the set is complete.</summary>
    public static IEnumerable<Migration> Find(string folder) => Directory.EnumerateFiles(folder, "*.sql")
        .Select(file => Migration.Named(Path.GetFileName(file), () => File.ReadAllBytes(file))).OfType<Migration>();

    /// <summary>By version, up before down.</summary>
    public IReadOnlyList<Migration> All { get; }

    /// <summary>The version after all of them.</summary>
    public int Newest { get; }

    public Migration Up(int version) => ups[version] ?? throw new ArgumentOutOfRangeException(nameof(version));

    public Migration? Down(int version) => downs[version];

    static IEnumerable<Migration> Find(Assembly assembly)
    {
        const string prefix = "migrations/";
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
