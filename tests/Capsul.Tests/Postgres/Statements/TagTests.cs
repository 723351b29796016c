using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>
/// Compares the output of statements without rows with psql's for the same statements in the same run.
/// </summary>
public sealed class TagTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    const string Statements = """
        CREATE TABLE a (id int PRIMARY KEY, b text); CREATE TEMP TABLE tt (x int); CREATE UNLOGGED TABLE ul (x int);
        CREATE TABLE IF NOT EXISTS ul (x int);
        CREATE UNIQUE INDEX a_b ON a (b); CREATE INDEX IF NOT EXISTS a_c ON a (b); CREATE VIEW v AS SELECT 1 AS one;
        CREATE OR REPLACE VIEW v AS SELECT 1 AS one; CREATE TEMP VIEW tv AS SELECT 1;
        CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one; REFRESH MATERIALIZED VIEW mv;
        CREATE RECURSIVE VIEW rv (n) AS VALUES (1);
        CREATE TABLE as_select AS SELECT generate_series(1, 7); SELECT 1 AS one INTO into_table;
        CREATE TEMPORARY SEQUENCE sq; CREATE SEQUENCE sr;
        CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
        CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$; CALL p(); DO $$ BEGIN NULL; END $$;
        CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
        CREATE TRIGGER t1 BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION tr();
        CREATE CONSTRAINT TRIGGER t2 AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION tr(); CREATE
        OR REPLACE TRIGGER t1 BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION tr();
        CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood ADD VALUE 'b'; CREATE DOMAIN dom AS int; CREATE SCHEMA sc;
        CREATE ROLE tag_role; CREATE USER tag_user; CREATE GROUP tag_group;
        ALTER USER tag_user PASSWORD 'x'; ALTER ROLE tag_role SET work_mem = '1MB';
        ALTER GROUP tag_group ADD USER tag_user; GRANT tag_role TO tag_user; REVOKE tag_role FROM tag_user;
        GRANT SELECT ON a TO tag_role; GRANT SELECT (b), UPDATE ON a TO tag_role; GRANT ALL ON SCHEMA sc TO tag_role;
        REVOKE ALL ON a FROM tag_role; GRANT USAGE ON SCHEMA sc TO tag_role;
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO tag_role; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES
        FROM tag_role; REASSIGN OWNED BY tag_role TO tag_user; DROP OWNED BY tag_role;
        ALTER TABLE a ADD COLUMN c int; ALTER TABLE a RENAME COLUMN c TO d; ALTER TABLE IF EXISTS ONLY a DROP COLUMN d;
        ALTER INDEX a_b RENAME TO a_bb; ALTER VIEW v RENAME TO vv; ALTER SEQUENCE sr RESTART;
        ALTER FUNCTION f() STABLE; ALTER SCHEMA sc RENAME TO sd; ALTER MATERIALIZED VIEW mv RENAME TO mw;
        ALTER ROUTINE g() RENAME TO h; ALTER TRIGGER t1 ON a RENAME TO t3; ALTER TABLE a RENAME TO aa;
        ALTER TABLE aa RENAME TO a;
        CREATE TEXT SEARCH CONFIGURATION tsc (COPY = simple); ALTER TEXT SEARCH CONFIGURATION tsc RENAME TO tsd;
        DROP TEXT SEARCH CONFIGURATION tsd;
        CREATE COLLATION co (provider = libc, locale = 'C'); CREATE CAST (mood AS int) WITH INOUT;
        DROP CAST (mood AS int); CREATE AGGREGATE ag (int) (sfunc = int4pl, stype = int);
        CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq); CREATE OPERATOR FAMILY opf USING btree;
        CREATE STATISTICS st ON id, b FROM a; CREATE POLICY po ON a; CREATE RULE ru AS ON INSERT TO ul DO (SELECT 1;
        SELECT 2);
        CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER srv FOREIGN DATA WRAPPER fdw;
        CREATE USER MAPPING FOR tag_user SERVER srv; CREATE FOREIGN TABLE ft (x int) SERVER srv; CREATE EVENT TRIGGER ev
        ON ddl_command_end EXECUTE FUNCTION pg_catalog.unique_key_recheck();
        """;

    const string More = """
        CREATE PUBLICATION pub FOR TABLE a; COMMENT ON TABLE a IS 'x'; INSERT INTO a VALUES (1, 'x'), (2, 'y');
        UPDATE a SET b = 'z' WHERE id = 1; DELETE FROM a WHERE id = 1;
        MERGE INTO a USING (VALUES (2, 'm'), (3, 'n')) s (id, b) ON a.id = s.id WHEN MATCHED THEN UPDATE SET b = s.b
        WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.b);
        WITH x AS (SELECT 9 AS id) INSERT INTO a SELECT id FROM x; WITH x AS (SELECT 9 AS id) DELETE FROM a USING x
        WHERE a.id = x.id;
        SET work_mem = '2MB'; SET LOCAL work_mem = '2MB'; SET CONSTRAINTS ALL DEFERRED;
        SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; RESET work_mem; SET TIME ZONE 'UTC';
        PREPARE pr AS SELECT 1; PREPARE pu (int) AS UPDATE a SET b = 'q' WHERE id = $1; EXECUTE pu(2); DEALLOCATE pr;
        DEALLOCATE PREPARE pu; DEALLOCATE ALL;
        DECLARE cu CURSOR FOR SELECT generate_series(1, 5); MOVE 2 FROM cu; CLOSE cu; DECLARE cv SCROLL CURSOR FOR
        SELECT 1; CLOSE ALL; SAVEPOINT sp; RELEASE SAVEPOINT sp; SAVEPOINT sp; ROLLBACK TO SAVEPOINT sp;
        LOCK TABLE a IN SHARE MODE; LOCK a; ANALYZE a; ANALYSE a; LISTEN ch; NOTIFY ch, 'x'; UNLISTEN *; DISCARD PLANS;
        DISCARD SEQUENCES; DISCARD TEMP; TRUNCATE a; TRUNCATE TABLE a; REINDEX TABLE a; CLUSTER a USING a_pkey;
        SECURITY LABEL ON TABLE a IS NULL;
        DROP TABLE IF EXISTS as_select, into_table; DROP INDEX a_bb; DROP VIEW vv; DROP MATERIALIZED VIEW mw;
        DROP FUNCTION f(); DROP ROUTINE h(); DROP PROCEDURE p(); DROP DOMAIN dom; DROP SCHEMA sd; DROP SEQUENCE sr;
        DROP FOREIGN TABLE ft; DROP USER MAPPING FOR tag_user SERVER srv; DROP SERVER srv;
        DROP FOREIGN DATA WRAPPER fdw; DROP PUBLICATION pub; DROP AGGREGATE ag (int); DROP OPERATOR === (int, int);
        DROP OPERATOR FAMILY opf USING btree; DROP STATISTICS st; DROP POLICY po ON a;
        DROP COLLATION co; DROP RULE ru ON ul; DROP TRIGGER t3 ON a; DROP TYPE mood; DROP USER tag_user;
        DROP GROUP tag_group; DROP ROLE tag_role; SHOW work_mem; VALUES (1), (2); TABLE ul; EXPLAIN (COSTS OFF)
        SELECT 1; CHECKPOINT;
        """;

    /// <summary>Excludes what needs superuser rights for the whole cluster, or is refused on purpose.</summary>
    static readonly string[] NotCompared = ["CREATE EVENT TRIGGER", "SECURITY LABEL"];

    [Fact]
    public async Task Tags_are_those_of_psql()
    {
        await using var database = await TestDatabase.CreateAsync();
        var text = string.Join(";\n", (Capsul.Postgres.Text.SqlText.Split(Statements + More))
            .Select(s => s.Text).Where(s => !NotCompared.Any(n => s.StartsWith(n, StringComparison.Ordinal)))) + ";\n";
        // Roles belong to the cluster: psql's run is rolled back before ours begins.
        var psql = await (PostgresPrograms.Make(null, database.Db.Address, "psql", "-X", "-A", "-t",
            "-F, ", "-v", "ON_ERROR_STOP=1", "-f", "-") with
        { Input = $"BEGIN;\n{text}ROLLBACK;\n" }).RunAsync(Cancel);
        var ours = await TypedSql.RunAsync(database, $"BEGIN;\n{text}ROLLBACK;\n");
        var counted = psql.Output.Split('\n').Select(l => l.Split(' ') switch
        {
            ["INSERT", "0", var n] => $"{n} rows affected.",
            ["UPDATE" or "DELETE" or "MERGE", var n] => $"{n} rows affected.",
            _ => l,
        });
        ours.Output.Split('\n').ShouldBe(counted);
        ours.Output.Split('\n').Length.ShouldBeGreaterThan(150, "the statements must have run");
    }

    [Fact]
    public async Task Tags_of_transactions_are_those_of_psql()
    {
        await using var database = await TestDatabase.CreateAsync();
        const string text =
            "BEGIN; SELECT 1; END; START TRANSACTION ISOLATION LEVEL SERIALIZABLE; COMMIT WORK; BEGIN WORK; ABORT; "
            + "BEGIN; COMMIT AND CHAIN; SELECT 2; ROLLBACK; VACUUM (ANALYZE) payments; DISCARD ALL;";
        var psql = await (PostgresPrograms.Make(null, database.Db.Address, "psql", "-X", "-A", "-t", "-f", "-")
            with
        { Input = text }).RunAsync(Cancel);
        (await TypedSql.RunAsync(database, text)).Output.ShouldBe(psql.Output);
    }

    [Fact]
    public async Task Rows_come_before_the_count()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await TypedSql.RunAsync(database,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2) RETURNING a; WITH x AS (DELETE FROM t WHERE a = 1 "
            + "RETURNING a) SELECT a FROM x; SELECT FROM t; UPDATE t SET a = 3 WHERE false")).Output
            .ShouldBe("CREATE TABLE\n1\n2\n2 rows affected.\n1\n\n0 rows affected.\n");
    }
}
