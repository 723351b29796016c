using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Postgres;

public sealed class DatabaseAddressTests
{
    static NpgsqlConnectionStringBuilder From(params (string, string)[] settings) =>
        new(DatabaseAddress.From(Settings.Load(settings.ToDictionary(s => s.Item1, s => s.Item2)))!.ConnectionString);

    [Fact]
    public void Without_settings_the_private_cluster_is_used() =>
        DatabaseAddress.From(Settings.Load(new Dictionary<string, string>())).ShouldBeNull();

    [Fact]
    public void In_parts()
    {
        var parts = From(("CAPSUL_DATABASE_HOST", "db1,db2:6000"), ("CAPSUL_DATABASE_PORT", "5433"),
            ("CAPSUL_DATABASE_NAME", "n"), ("CAPSUL_DATABASE_USER", "u"),
            ("CAPSUL_DATABASE_PASSWORD", "p;'\""), ("CAPSUL_DATABASE_TLS", "verify-full"));
        (parts.Host, parts.Port, parts.Database, parts.Username, parts.Password, parts.SslMode)
            .ShouldBe(("db1,db2:6000", 5433, "n", "u", "p;'\"", SslMode.VerifyFull));
    }

    [Fact]
    public async Task A_password_from_a_secret_file()
    {
        var file = Path.Combine(TestFolder.Make("secret"), "password");
        await File.WriteAllTextAsync(file, "from-file\n", TestContext.Current.CancellationToken);
        From(("CAPSUL_DATABASE_HOST", "db"), ("CAPSUL_DATABASE_PASSWORD_FILE", file)).Password.ShouldBe("from-file");
        From(("CAPSUL_DATABASE", "Host=db;Username=u;Password=old"),
            ("CAPSUL_DATABASE_PASSWORD_FILE", file)).Password.ShouldBe("from-file");
        await File.WriteAllTextAsync(file, "Host=whole;Database=d\n", TestContext.Current.CancellationToken);
        From(("CAPSUL_DATABASE_FILE", file)).Host.ShouldBe("whole");
    }

    [Fact]
    public void As_a_uri()
    {
        var parts = From(
            ("CAPSUL_DATABASE", "postgres://u%40x:p%3Aw@a:1,b:2/d?sslmode=require&target_session_attrs=read-write"));
        (parts.Host, parts.Database, parts.Username, parts.Password, parts.SslMode, parts.TargetSessionAttributes)
            .ShouldBe(("a:1,b:2", "d", "u@x", "p:w", SslMode.Require, "read-write"));
    }

    [Fact]
    public void Programs_get_it_from_the_environment()
    {
        var address = DatabaseAddress.Of("Host=a:1,b;Port=7;Database=d;Username=u;Password=p;SSL Mode=VerifyFull");
        var variables = address.ForPrograms("capsul test");
        (variables["PGHOST"], variables["PGPORT"], variables["PGDATABASE"],
            variables["PGUSER"], variables["PGPASSWORD"], variables["PGSSLMODE"], variables["PGTARGETSESSIONATTRS"])
            .ShouldBe(("a,b", "1,7", "d", "u", "p", "verify-full", "read-write"));
        address.Shown.ShouldBe("a:1, b:7, database d");
        address.For("other").ForPrograms("x")["PGDATABASE"].ShouldBe("other");
    }

    [Theory]
    [InlineData("::1", "::1", "7", "[::1]:7")]
    [InlineData("[::1]", "::1", "7", "[::1]:7")]
    [InlineData("[::1]:5432", "::1", "5432", "[::1]:5432")]
    [InlineData("[2001:db8::5]:6000, 10.0.0.1, db:9", "2001:db8::5,10.0.0.1,db",
        "6000,7,9", "[2001:db8::5]:6000, 10.0.0.1:7, db:9")]
    [InlineData("/run/postgresql", "/run/postgresql", "7", "/run/postgresql")]
    public void Hosts_may_be_addresses_of_either_kind(string host, string forPrograms, string ports, string shown)
    {
        var address = DatabaseAddress.From(
            Settings.Load(new Dictionary<string, string>
            {
                ["CAPSUL_DATABASE_HOST"] = host,
                ["CAPSUL_DATABASE_PORT"] = "7"
            }))!;
        var variables = address.ForPrograms("x");
        (variables["PGHOST"], variables["PGPORT"], address.Shown)
            .ShouldBe((forPrograms, ports, shown + ", database capsul"));
    }

    [Fact]
    public async Task A_password_is_used_literally()
    {
        const string password = " p%40's \"quoted\"; ünï \\";
        From(("CAPSUL_DATABASE_HOST", "db"), ("CAPSUL_DATABASE_PASSWORD", password)).Password.ShouldBe(password);
        var file = Path.Combine(TestFolder.Make("secret"), "password");
        await File.WriteAllTextAsync(file, password + "\n", TestContext.Current.CancellationToken);
        From(("CAPSUL_DATABASE_HOST", "db"), ("CAPSUL_DATABASE_PASSWORD_FILE", file)).Password.ShouldBe(password);
        From(("CAPSUL_DATABASE", $"postgres://u:{Uri.EscapeDataString(password)}@[::1]:5433/d%20b"))
            .ShouldSatisfyAllConditions(p => p.Password.ShouldBe(password), p =>
            p.Host.ShouldBe("[::1]:5433"), p => p.Database.ShouldBe("d b"));
    }

    [Theory, InlineData("somewhere"), InlineData("Database=x"), InlineData("postgres:///d"),
        InlineData("Host=x;Nonsense=1"), InlineData("postgres://h/d?nonsense=1"),
        InlineData("postgres://h/d?sslmode=maybe")]
    public void Nonsense_is_said_in_a_sentence(string text) =>
        Should.Throw<ProblemException>(() => From(("CAPSUL_DATABASE", text))).Problem.Message.ShouldStartWith(
            "CAPSUL_DATABASE is not a connection string");

    [Theory]
    [InlineData("postgres://u:hush/secret@h/d"), InlineData("postgres://u:hush@secret@h/d"),
        InlineData("postgres://u:hush?secret@h/d")]
    [InlineData("postgres://u:hush#secret@h/d"), InlineData("postgres://u:hush/secret@h:5432/d?sslmode=require")]
    public void An_unencoded_password_is_explained_and_not_quoted(string text)
    {
        var says = Should.Throw<ProblemException>(() => From(("CAPSUL_DATABASE", text)));
        says.Problem.Message.ShouldContain("percent-encoded");
        says.ToString().ShouldNotContain("hush");
        says.ToString().ShouldNotContain("secret@");
    }

    [Theory, InlineData("Host=h;Password=hush;secret"), InlineData("Host=h;Password=hush;secret=1"),
        InlineData("Host=h:hush"), InlineData("postgres://u:hush")]
    public void Errors_quote_no_part_of_the_string(string text)
    {
        var says = Should.Throw<ProblemException>(() => From(("CAPSUL_DATABASE", text))).ToString();
        says.ShouldNotContain("hush");
        says.ShouldNotContain("secret");
    }

    [Fact]
    public void In_parts_with_a_certificate_authority()
    {
        var parts = From(("CAPSUL_DATABASE_HOST", "db"), ("CAPSUL_DATABASE_TLS", "verify-full"),
            ("CAPSUL_DATABASE_ROOT_CERTIFICATE", "/etc/ca.pem"));
        (parts.SslMode, parts.RootCertificate).ShouldBe((SslMode.VerifyFull, "/etc/ca.pem"));
    }

    [Fact]
    public void An_untrusted_certificate_is_distinguished_from_a_server_that_is_down()
    {
        var db = new Db("Host=db;Database=d;SSL Mode=VerifyFull");
        db.Explain(new NpgsqlException("Exception while performing SSL handshake",
            new System.Security.Authentication.AuthenticationException("PartialChain")))
            .Message.ShouldContain("CAPSUL_DATABASE_ROOT_CERTIFICATE");
        db.Explain(
            new NpgsqlException("SSL connection requested. No SSL enabled connection from this host is configured."))
            .Message.ShouldContain("does not offer TLS");
    }

    [Fact]
    public void As_a_string_or_in_parts_but_not_both() =>
        Should.Throw<ProblemException>(() =>
            From(("CAPSUL_DATABASE", "Host=a"), ("CAPSUL_DATABASE_HOST", "b"))).Problem.Message.ShouldContain(
            "CAPSUL_DATABASE_HOST");

    [Fact]
    public void A_hub_cannot_use_a_standby_server() =>
        Should.Throw<ProblemException>(() =>
            new Db("Host=a,b;Target Session Attributes=standby")).Problem.Message.ShouldContain(
            "primary or read-write");
}
