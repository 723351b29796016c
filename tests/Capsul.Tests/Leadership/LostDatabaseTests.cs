using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Leadership;

public sealed class LostDatabaseTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static SchemaUpgrade Upgrade(TestDatabase database, string folder) => new(
        database.Db, Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = folder }),
            patient: false, NullLogger.Instance);

    [Theory]
    [InlineData("secret.key", "secret.key")]
    [InlineData("backups/capsul-backup-2026-03-01.gz", "capsul db restore /")]
    [InlineData("hub/recovery.json", "capsul hub rebuild --from-spokes")]
    [InlineData("spoke/vms/capsul-abc.json", "VMs of its Spoke")]
    public async Task An_empty_database_beside_traces_of_a_hub_is_refused_with_advice_unless_it_is_created_explicitly(
        string trace, string says)
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = TestFolder.Make("lost");
        Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, trace))!);
        await File.WriteAllTextAsync(Path.Combine(folder, trace), "x", Cancel);
        var refused = await Should.ThrowAsync<ProblemException>(() =>
            Upgrade(database, folder).RunAsync(() => Task.CompletedTask, Cancel));
        refused.Problem.Kind.ShouldBe(ProblemKind.Conflict);
        refused.Message.ShouldContain(says);
        refused.Message.ShouldContain("capsul db migrate");
        (await Upgrade(database, folder).ToAsync(Migrator.DesiredVersion, allowDowngrade: false, Cancel))
            .ShouldBe(Migrator.DesiredVersion);
        (await Upgrade(database, folder).RunAsync(() => Task.CompletedTask, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task A_new_data_folder_has_no_traces()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        (await Upgrade(database, TestFolder.Make("new")).RunAsync(() => Task.CompletedTask, Cancel))
            .ShouldBe(Migrator.DesiredVersion);
    }
}
