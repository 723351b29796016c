namespace Capsul.Postgres;

/// <summary>
/// The roles of a private cluster: the everyday role, without server privileges, and the administrator.
/// </summary>
static class ClusterSql
{
    public const string Administrator = "postgres", Everyday = "capsul", Database = "capsul";

    /// <summary>New name of the bootstrap role of an older program's cluster, which is always a superuser.</summary>
    const string First = "capsul_first";

    public const string RoleExists = """
        -- ClusterSql.RoleExists
        SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'capsul')
        """;

    public const string EverydayIsSuperuser = """
        -- ClusterSql.EverydayIsSuperuser
        SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'capsul' AND rolsuper)
        """;

    public const string DatabaseExists = """
        -- ClusterSql.DatabaseExists
        SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = 'capsul')
        """;

    /// <summary>Databases created by people and programs.</summary>
    public const string Databases = """
        -- ClusterSql.Databases
        SELECT datname::text FROM pg_database WHERE NOT datistemplate AND datallowconn AND datname <> 'postgres'
        """;

    /// <param name="password">Hex digits.</param>
    public static string MakeAdministrator(string password) =>
        $"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{Administrator}') THEN CREATE ROLE {Administrator};
                END IF;
            ALTER ROLE {Administrator} SUPERUSER LOGIN PASSWORD '{password}';
        END $$
        """;

    /// <summary>The role creates and renames databases for restores, and may read what doctor shows.</summary>
    /// <param name="exists">The role exists; only its password is set.</param>
    /// <param name="password">Hex digits.</param>
    public static string MakeEveryday(bool exists, string password) =>
        exists ? $"ALTER ROLE {Everyday} PASSWORD '{password}'"
        : $"CREATE ROLE {Everyday} LOGIN CREATEDB PASSWORD '{password}'; GRANT pg_monitor TO {Everyday};";

    public const string MakeDatabase = $"""
        -- ClusterSql.MakeDatabase
        CREATE DATABASE {Database} OWNER {Everyday}
        """;

    /// <summary>The bootstrap role cannot lose its superuser rights; so it is renamed, and may not log in.</summary>
    public const string SetFirstAside = $"ALTER ROLE {Everyday} RENAME TO {First}; ALTER ROLE {First} NOLOGIN;";

    /// <summary>
    /// Transfers the database, and what the bootstrap role owns in it, to the everyday role. Objects of extensions
    /// stay.
    /// </summary>
    public const string HandOver = $"""
        -- ClusterSql.HandOver
        DO $$ DECLARE made record; BEGIN
            FOR made IN
                SELECT format('ALTER %s %s OWNER TO {Everyday}', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm'
                    THEN 'MATERIALIZED VIEW'
                    WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
                        c.oid::regclass) AS statement
                FROM pg_class c
                WHERE c.relowner = '{First}'::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
                    AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
                    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                        AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i')
                            AND d.refclassid = 'pg_class'::regclass))
                UNION ALL
                SELECT format('ALTER ROUTINE %s OWNER TO {Everyday}', p.oid::regprocedure) FROM pg_proc p
                WHERE p.proowner = '{First}'::regrole
                    AND p.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
                    AND NOT EXISTS (
                        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                            AND d.deptype = 'e')
                UNION ALL
                SELECT format('ALTER TYPE %s OWNER TO {Everyday}', t.oid::regtype) FROM pg_type t
                WHERE t.typowner = '{First}'::regrole AND t.typtype IN ('e', 'd', 'r')
                    AND t.typnamespace::regnamespace::text !~ '^(pg_|information_schema)'
                    AND NOT EXISTS (
                        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
                            AND d.deptype = 'e')
                UNION ALL
                SELECT format('ALTER SCHEMA %I OWNER TO {Everyday}', n.nspname) FROM pg_namespace n
                WHERE n.nspowner = '{First}'::regrole AND n.nspname !~ '^(pg_|information_schema)'
                UNION ALL
                SELECT format('ALTER LARGE OBJECT %s OWNER TO {Everyday}', m.oid) FROM pg_largeobject_metadata m
                WHERE m.lomowner = '{First}'::regrole
                UNION ALL
                SELECT format('ALTER DATABASE %I OWNER TO {Everyday}', current_database())
            LOOP
                EXECUTE made.statement;
            END LOOP;
        END $$
        """;
}
