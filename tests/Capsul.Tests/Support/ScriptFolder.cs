using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Support;

/// <summary>A test's own migration scripts.</summary>
public sealed class ScriptFolder
{
    public string Path { get; } = TestFolder.Make("scripts");

    public MigrationScripts Scripts => MigrationScripts.FromFolder(Path);

    public ScriptFolder Add(string name, string sql)
    {
        File.WriteAllText(System.IO.Path.Combine(Path, name), sql);
        return this;
    }

    public Migrator Migrator(Db db, ILogger? log = null) =>
        new(db, log ?? NullLogger.Instance) { Rules = new MigrationRules { Scripts = Scripts } };

    public Repair Repair(Db db) => new(db, NullLogger.Instance) { Rules = new MigrationRules { Scripts = Scripts } };
}
