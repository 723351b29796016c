using System.Globalization;
using Capsul.Foundation;

namespace Capsul.Postgres;

/// <summary>PostgreSQL's own programs on this machine: psql, pg_dump, initdb and others.</summary>
public static class PostgresPrograms
{
    const string Root = "/usr/lib/postgresql";
    const int OldestMajor = 14;

    /// <summary>
    /// The folder with all of <paramref name="programs"/>: <paramref name="configured"/>, or that of the newest version
    /// installed.
    /// </summary>
    /// <param name="configured"><c>CAPSUL_POSTGRES_BIN</c>.</param>
    /// <exception cref="ProblemException">Unavailable: not found.</exception>
    public static string Folder(string? configured, params string[] programs)
    {
        var candidates = configured is not null ? [configured]
            : Directory.Exists(Root) ? Directory.GetDirectories(Root)
                .Where(d => int.TryParse(Path.GetFileName(d), CultureInfo.InvariantCulture, out var major)
                    && major >= OldestMajor)
                .OrderByDescending(d => int.Parse(Path.GetFileName(d), CultureInfo.InvariantCulture))
                    .Select(d => Path.Combine(d, "bin")).Append("/usr/bin").ToArray()
            : ["/usr/bin"];
        var names = string.Join(" and ", programs);
        return candidates.FirstOrDefault(d => programs.All(p => File.Exists(Path.Combine(d, p))))
            ?? throw new ProblemException(ProblemKind.Unavailable, configured is not null
                ? $"CAPSUL_POSTGRES_BIN is {configured}, but {names} "
                    + $"{(programs.Length > 1 ? "are" : "is")} not there."
                : programs.Contains("initdb", StringComparer.Ordinal)
                    ? "PostgreSQL 14 or newer is not installed. Install the package postgresql, or set "
                        + "CAPSUL_DATABASE to an external server."
                    : $"{names} is not installed. Install the package postgresql-client, or name its folder in "
                        + "CAPSUL_POSTGRES_BIN.");
    }

    /// <summary>One program on one database; the address is passed in the environment.</summary>
    public static Command Make(
        string? configured, DatabaseAddress address, string program, params IReadOnlyList<string> arguments) =>
        new(Path.Combine(Folder(configured, program), program),
            arguments)
        { Environment = address.ForPrograms($"capsul {program}") };
}
