using Capsul.Foundation;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Rebuilds;

public sealed class RecoveryCopyTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Settings In(string folder) =>
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder });

    static async Task<string> FingerprintAsync(TestDatabase database, byte[] key)
    {
        using var authority = await Authority.OpenAsync(new KeyRing(database.Db, key), TimeProvider.System, Cancel);
        return authority.Fingerprint;
    }

    static async Task SaveAsync(TestDatabase database, byte[] key, Settings settings) =>
        await (await RecoveryCopy.ReadAsync(database.Db, new KeyRing(database.Db, key), Cancel))
            .SaveAsync(settings, TimeProvider.System, Cancel);

    [Fact]
    public async Task An_empty_database_gets_the_authority_the_epoch_and_the_revoked_hosts_back()
    {
        var (settings, key) = (In(TestFolder.Make("copy")), new byte[32]);
        string fingerprint;
        await using (var lost = await TestDatabase.CreateAsync())
        {
            fingerprint = await FingerprintAsync(lost, key);
            await lost.Db.ExecuteAsync("""
                INSERT INTO hosts (id, state) VALUES ('rack1', 'joined'), ('rack2', 'revoked'), ('rack3', 'invited');
                UPDATE seat SET epoch = 5000000;
                """, null, Cancel);
            await SaveAsync(lost, key, settings);
        }
        await using var database = await TestDatabase.CreateAsync();
        await RebuildDatabase.OpenAsync(
            database.Db, new KeyRing(database.Db, key), settings, TimeProvider.System, Cancel);
        (await FingerprintAsync(database, key)).ShouldBe(fingerprint);
        (await database.Db.AskAsync<string>(
            "SELECT (SELECT epoch FROM seat) || ' ' || (SELECT string_agg(id || ' ' || state, ' ') FROM hosts)",
            null, Cancel)).ShouldBe("6000000 rack2 revoked");
        (await database.Db.AskAsync<string[]>("SELECT expected FROM rebuilds", null, Cancel)).ShouldBe(["rack1"]);
    }

    [Fact]
    public async Task The_doctor_says_whether_the_copy_is_there_readable_private_and_up_to_date()
    {
        var (settings, key) = (In(TestFolder.Make("copy")), new byte[32]);
        var file = Path.Combine(settings.Data, "hub", "recovery.json");
        await using var database = await TestDatabase.CreateAsync();
        await FingerprintAsync(database, key);
        (await DoctorAsync()).ShouldBe((Verdict.Warn, true), "it does not exist");
        await SaveAsync(database, key, settings);
        (await DoctorAsync("is up to date")).ShouldBe((Verdict.Ok, true));
        CheckRecoveryCopy.OfFile(settings).Verdict.ShouldBe(Verdict.Ok);
        await database.Db.ExecuteAsync("UPDATE seat SET epoch = epoch + 1", null, Cancel);
        (await DoctorAsync("is older than the database")).ShouldBe((Verdict.Warn, true));
        await SaveAsync(database, key, settings);
        File.SetUnixFileMode(file, (UnixFileMode)0b110_100_100);
        (await DoctorAsync("chmod 600")).ShouldBe((Verdict.Warn, true));
        File.SetUnixFileMode(file, (UnixFileMode)0b110_000_000);
        await using var another = await TestDatabase.CreateAsync();
        await FingerprintAsync(another, key);
        (await CheckRecoveryCopy.RunAsync(settings, another.Db, Cancel)).Says.ShouldContain("of another database");
        await File.WriteAllTextAsync(file, "{", Cancel);
        (await DoctorAsync("is damaged")).ShouldBe((Verdict.Fail, true));

        async Task<(Verdict, bool)> DoctorAsync(string says = "does not exist yet")
        {
            var line = await CheckRecoveryCopy.RunAsync(settings, database.Db, Cancel);
            return (line.Verdict, line.Says.Contains(says, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Another_secret_key_is_refused_and_nothing_is_changed()
    {
        var settings = In(TestFolder.Make("copy"));
        await using var lost = await TestDatabase.CreateAsync();
        await FingerprintAsync(lost, new byte[32]);
        await SaveAsync(lost, new byte[32], settings);
        await using var database = await TestDatabase.CreateAsync();
        byte[] other = [1, .. new byte[31]];
        (await Should.ThrowAsync<ProblemException>(() => RebuildDatabase.OpenAsync(
            database.Db, new KeyRing(database.Db, other), settings, TimeProvider.System, Cancel)))
            .Message.ShouldContain("CAPSUL_SECRET_KEY");
        (await database.Db.AskAsync<bool>(RebuildSql.IsOpen, null, Cancel)).ShouldBeFalse();
        (await database.Db.AskAsync<long>("SELECT count(*) + (SELECT epoch FROM seat) FROM key_ring", null, Cancel))
            .ShouldBe(0);
    }

    [Fact]
    public async Task The_copy_of_a_lost_database_is_set_aside_when_a_new_one_is_started_beside_it()
    {
        var (folder, key) = (TestFolder.Make("copy"), new byte[32]);
        await using var lost = await TestDatabase.CreateAsync();
        await using var empty = await TestDatabase.CreateAsync();
        foreach (var database in (TestDatabase[])[lost, empty])
        {
            await FingerprintAsync(database, key);
            await SaveAsync(database, key, In(folder));
            await SaveAsync(database, key, In(folder));
        }
        Directory.GetFiles(Path.Combine(folder, "hub")).Length.ShouldBe(2);
    }
}
