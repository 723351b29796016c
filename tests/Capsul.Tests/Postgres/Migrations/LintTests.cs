using System.Text;
using Capsul.Postgres.Migrations;

namespace Capsul.Tests.Postgres.Migrations;

public sealed class LintTests
{
    static Migration Script(string name, string sql) => Migration.Named(name, () => Encoding.UTF8.GetBytes(sql))!;

    static List<string> Rules(string sql, string name = "05_up_x.sql") =>
        [.. Lint.Check([Script(name, sql)], wholeSet: false).Select(f => f.Rule)];

    [Fact]
    public void The_published_scripts_have_no_findings() => Lint.Check(MigrationScripts.Embedded.All, wholeSet: true)
        .ShouldBeEmpty();

    [Theory]
    [InlineData("data-loss", "DROP TABLE vms;")]
    [InlineData("data-loss", "ALTER TABLE vms ADD COLUMN a text, DROP COLUMN problem;")]
    [InlineData("data-loss", "ALTER TABLE ONLY public.vms DROP problem;")]
    [InlineData("data-loss", "TRUNCATE vms;")]
    [InlineData("data-loss", "DELETE FROM vms;")]
    [InlineData("update-all", "UPDATE vms SET problem = '';")]
    [InlineData("rewrite", "ALTER TABLE vms ALTER COLUMN phase TYPE bigint;")]
    [InlineData("rewrite", "ALTER TABLE vms ALTER phase SET DATA TYPE bigint;")]
    [InlineData("rewrite", "ALTER TABLE vms ADD COLUMN a uuid DEFAULT gen_random_uuid();")]
    [InlineData("index-locks", "CREATE INDEX vms_x ON vms (phase);")]
    [InlineData("index-locks", "CREATE UNIQUE INDEX vms_x ON public.vms (phase);")]
    [InlineData("index-locks", "DROP INDEX vms_email;")]
    [InlineData("index-locks", "ALTER TABLE vms ADD UNIQUE (phase);")]
    [InlineData("index-locks", "ALTER TABLE vms ADD CONSTRAINT x PRIMARY KEY (id);")]
    [InlineData("concurrently-in-transaction", "CREATE INDEX CONCURRENTLY vms_x ON vms (phase);")]
    [InlineData("concurrently-in-transaction", "VACUUM vms;")]
    [InlineData("not-null-without-default", "ALTER TABLE vms ADD COLUMN a text NOT NULL;")]
    [InlineData("validates-all", "ALTER TABLE vms ADD CONSTRAINT x CHECK (phase > 0);")]
    [InlineData("validates-all", "ALTER TABLE vms ADD FOREIGN KEY (host) REFERENCES hosts;")]
    [InlineData("set-not-null", "ALTER TABLE vms ALTER COLUMN deleted SET NOT NULL;")]
    [InlineData("exclusive-lock", "LOCK TABLE vms;")]
    [InlineData("exclusive-lock", "CLUSTER vms;")]
    [InlineData("rename", "ALTER TABLE vms RENAME COLUMN phase TO stage;")]
    [InlineData("rename", "ALTER INDEX vms_email RENAME TO vms_x;")]
    [InlineData("session-setting", "SET search_path = x;")]
    [InlineData("transaction-statement", "COMMIT;")]
    [InlineData("empty", "-- nothing")]
    [InlineData("unclosed", "SELECT 'a;")]
    [InlineData("marker", "-- A word first.\n-- capsul: no transaction\nCREATE TABLE a (id integer);")]
    [InlineData("needless-no-transaction", "-- capsul: no transaction\nCREATE TABLE a (id integer);")]
    [InlineData("index-without-name", "-- capsul: no transaction\nCREATE INDEX CONCURRENTLY ON vms (phase);")]
    public void A_finding_for(string rule, string sql) => Rules(sql).ShouldBe([rule]);

    [Theory]
    [InlineData(
        "CREATE TABLE a (id integer NOT NULL); CREATE INDEX a_id ON a (id); ALTER TABLE a ADD COLUMN b text NOT NULL; "
        + "DROP TABLE a;")]
    [InlineData("ALTER TABLE vms ADD COLUMN a text NOT NULL DEFAULT '', ADD COLUMN b numeric(8, 2);")]
    [InlineData("ALTER TABLE vms ADD CONSTRAINT x CHECK (phase > 0) NOT VALID;")]
    [InlineData("ALTER TABLE vms ADD CONSTRAINT x UNIQUE USING INDEX vms_x, DROP CONSTRAINT y;")]
    [InlineData("-- capsul: no transaction\nCREATE INDEX CONCURRENTLY vms_x ON vms (phase);")]
    [InlineData("INSERT INTO sizes (id) VALUES ('DROP TABLE vms; COMMIT');")]
    [InlineData(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM vms; RETURN NEW; END $$;")]
    [InlineData("DELETE FROM vms WHERE id = 'x'; SET LOCAL work_mem = '1MB';")]
    public void No_finding_for(string sql) => Rules(sql).ShouldBeEmpty();

    [Fact]
    public void A_down_script_may_drop() =>
        Rules("DROP TABLE vms; ALTER TABLE hosts DROP COLUMN problem;", "05_down_x.sql").ShouldBeEmpty();

    [Fact]
    public void A_finding_has_its_position_and_is_accepted_only_with_a_reason()
    {
        var finding = Lint.Check([Script("05_up_x.sql", "CREATE TABLE a (id integer);\n\nDROP TABLE vms;")],
            wholeSet: false).ShouldHaveSingleItem();
        (finding.File, finding.Line, finding.Error).ShouldBe(("05_up_x.sql", 3, true));
        Rules("-- lint: accept data-loss because it has been empty since version 2\nDROP TABLE vms;").ShouldBeEmpty();
        Rules("-- lint: accept data-loss\nDROP TABLE vms;")
            .ShouldBe(["accept-without-reason", "data-loss"], ignoreOrder: true);
        Rules("-- lint: accept data-loss because it is empty\nDROP TABLE vms;\nDROP TABLE hosts;")
            .ShouldBe(["data-loss"], "for one statement, not for all");
    }

    [Fact]
    public void An_incomplete_set_is_reported()
    {
        const string sql = "CREATE TABLE a (id integer);";
        var findings = Lint.Check([Script("01_up_a.sql", sql), Script("01_down_a.sql", "DROP TABLE a;"),
            Script("03_up_c.sql", sql), Script("03_up_d.sql", sql), Script("04_down_e.sql", sql)], wholeSet: true);
        findings.Select(f => $"{f.File} {f.Rule}").ShouldBe(
            ["03_up_c.sql number-gap", "03_up_c.sql missing-down", "03_up_d.sql number-twice",
                "03_up_d.sql number-gap", "03_up_d.sql missing-down", "04_down_e.sql number-gap"], ignoreOrder: true);
    }
}
