using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>Two machines with one identity, a Spoke that lost its folder, and a Hub that has moved.</summary>
public sealed class CopiedSpokeTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_second_spoke_with_the_same_identity_is_refused_while_the_first_is_heard_and_an_alert_is_raised()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using var first = await ManualSpoke.DialAsync(identity, runId: "first");
        await first.NextAsync(HubMessage.BodyOneofCase.Wanted);
        using (var copy = await ManualSpoke.DialAsync(Copy(identity), runId: "copy"))
        {
            (await copy.RefusalAsync()).ShouldSatisfyAllConditions(
                s => s.StatusCode.ShouldBe(StatusCode.AlreadyExists),
                s => s.Detail.ShouldContain("Another Spoke is connected as rack1"));
        }
        (await AlertsAsync(link)).ShouldBeEmpty("it could have been the same machine after a power failure");
        await first.BeatAsync();
        await Until.TrueAsync("both were heard", Limit, async () =>
            await AlertsAsync(link) is ["cloned_spoke rack1"]);
        await first.NextAsync(HubMessage.BodyOneofCase.Heartbeat);
    }

    [Fact]
    public async Task A_spoke_that_restarts_replaces_its_old_connection()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using var before = await ManualSpoke.DialAsync(identity, runId: "same");
        await before.NextAsync(HubMessage.BodyOneofCase.Wanted);
        using var after = await ManualSpoke.DialAsync(identity, runId: "same");
        await after.NextAsync(HubMessage.BodyOneofCase.Wanted);
        (await AlertsAsync(link)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_copy_that_takes_over_makes_the_original_an_outdated_copy_until_it_joins_again()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using (var original = await ManualSpoke.DialAsync(identity, runId: "original"))
            await original.NextAsync(HubMessage.BodyOneofCase.Wanted);
        var copied = Copy(identity);
        await Until.TrueAsync("it left", Limit, async () => !await link.IsOnlineAsync("rack1"));
        using (var copy = await ManualSpoke.DialAsync(copied, runId: "copy"))
        {
            await copy.NextAsync(HubMessage.BodyOneofCase.Wanted);
            await Until.TrueAsync("the copy has stored its token", Limit, () => link.Db.AskAsync<bool>(
                "SELECT presented_token = given_token FROM hosts", null, Cancel));
        }
        await Until.TrueAsync("the copy left", Limit, async () => !await link.IsOnlineAsync("rack1"));
        using (var late = await ManualSpoke.DialAsync(identity, runId: "original"))
        {
            (await late.RefusalAsync()).ShouldSatisfyAllConditions(
                s => s.StatusCode.ShouldBe(StatusCode.PermissionDenied),
                s => s.Detail.ShouldContain("capsul host invite rack1"));
        }
        (await AlertsAsync(link)).ShouldBe(["cloned_spoke rack1"]);

        var again = await link.JoinAsync("rack1", TestFolder.Make("again"));
        using var joined = await ManualSpoke.DialAsync(again, runId: "again");
        await joined.NextAsync(HubMessage.BodyOneofCase.Wanted);
    }

    [Fact]
    public async Task A_token_that_was_never_stored_is_not_required()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        for (var n = 0; n < 3; n++)
        {
            // The welcome is not read: as if the Spoke had crashed before.
            using var spoke = await ManualSpoke.DialAsync(identity, runId: "same");
            await Until.TrueAsync("it connected", Limit, () => link.IsOnlineAsync("rack1"));
        }
    }

    [Fact]
    public async Task After_a_restore_of_the_database_any_token_is_accepted_once()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using (var before = await ManualSpoke.DialAsync(identity))
            await before.NextAsync(HubMessage.BodyOneofCase.Wanted);
        await link.Db.ExecuteAsync("UPDATE hosts SET given_token = '\\x00', presented_token = '\\x00'", null, Cancel);
        await using var standby = await link.StartAnotherAsync();
        await link.StopAsync();
        await Until.TrueAsync("the other acts", Limit, () => Task.FromResult(standby.Seat.Held));
        await link.Db.ExecuteAsync("UPDATE hosts SET token_epoch = -1000000", null, Cancel);
        using var after = await ManualSpoke.DialAsync(identity.At($"127.0.0.1:{standby.LinkPort}"));
        await after.NextAsync(HubMessage.BodyOneofCase.Wanted);
    }

    [Fact]
    public async Task A_spoke_that_lost_its_folder_raises_one_alert_which_is_cleared_when_it_has_its_vms_again()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        await InsertVmAsync(link, "capsul-0000000001");
        await InsertVmAsync(link, "capsul-0000000002");
        using (var empty = await ManualSpoke.DialAsync(identity))
        {
            await empty.SayAsync(new SpokeMessage { Inventory = new Inventory() });
            await Until.TrueAsync("an alert was raised", Limit, async () =>
                await AlertsAsync(link) is ["host_emptied rack1"]);
        }
        (await link.Db.AskAsync<string>("SELECT message FROM alerts", null, Cancel))
            .ShouldContain("rack1 no longer knows 2 of its 2 VMs");
        using var full = await ManualSpoke.DialAsync(identity);
        await full.SayAsync(new SpokeMessage
        {
            Inventory = new Inventory
            {
                Vms =
                {
                    new VmReport { Id = "capsul-0000000001", Power = Power.On, Epoch = 1, Generation = 1 },
                    new VmReport { Id = "capsul-0000000002", Power = Power.On, Epoch = 1, Generation = 1 },
                },
            },
        });
        await Until.TrueAsync("it is cleared", Limit, async () => (await AlertsAsync(link)).Count == 0);
    }

    [Fact]
    public async Task An_unchanged_inventory_writes_nothing_to_the_vms()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        await InsertVmAsync(link, "capsul-0000000001");
        var inventory = new SpokeMessage
        {
            Inventory = new Inventory
            {
                Vms = { new VmReport { Id = "capsul-0000000001", Power = Power.On, Epoch = 1, Generation = 1 } },
            },
        };
        using var spoke = await ManualSpoke.DialAsync(identity);
        await spoke.SayAsync(inventory);
        await Until.TrueAsync("it is known", Limit, () => link.Db.AskAsync<bool>(
            "SELECT observed_at IS NOT NULL FROM vms", null, Cancel));
        var before = await RowVersionAsync(link);
        await spoke.SayAsync(inventory);
        // What comes after it is processed after it.
        await spoke.SayAsync(new SpokeMessage
        {
            Vm = new VmReport { Id = "capsul-0000000001", Power = Power.Off, Epoch = 99, Generation = 1 },
        });
        await spoke.SayAsync(new SpokeMessage { Hello = ManualSpoke.Hello(memoryMb: 8192) });
        await Until.TrueAsync("all was processed", Limit, () => link.Db.AskAsync<bool>(
            "SELECT memory_mb = 8192 FROM hosts", null, Cancel));
        (await RowVersionAsync(link)).ShouldBe(before);
    }

    [Fact]
    public async Task The_next_wanted_states_wait_for_the_acknowledgment_of_the_ones_before()
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"), acknowledges: false);
        var first = (await spoke.NextAsync(HubMessage.BodyOneofCase.Wanted)).Wanted;
        await RaiseGenerationAsync(link);
        await RaiseGenerationAsync(link);
        // An answer to a heartbeat that was sent later arrives before the next wanted states.
        await spoke.BeatAsync();
        (await spoke.NextAsync())!.BodyCase.ShouldBe(HubMessage.BodyOneofCase.Heartbeat);
        await spoke.SayAsync(new SpokeMessage
        {
            Applied = new Applied { Epoch = first.Epoch, Generation = first.Generation },
        });
        var second = (await spoke.NextAsync(HubMessage.BodyOneofCase.Wanted)).Wanted;
        second.Generation.ShouldBe(first.Generation + 2, "both changes are in one message");
    }

    [Fact]
    public async Task A_standby_hub_names_the_active_one_and_a_welcome_names_them_all()
    {
        await using var link = await LinkHub.StartAsync(("CAPSUL_LINK_ADDRESS", "one.example.org:8443"));
        var identity = await link.JoinAsync("rack1");
        await using var standby = await link.StartAnotherAsync(("CAPSUL_LINK_ADDRESS", "two.example.org:8443"));
        await Until.TrueAsync("both are known", Limit, async () =>
            await link.Db.AskAsync<long>("SELECT count(DISTINCT link_address) FROM hubs", null, Cancel) >= 1);
        using var refused = await ManualSpoke.DialAsync(identity.At($"127.0.0.1:{standby.LinkPort}"));
        (await refused.RefusalTrailersAsync()).GetValue(Protocol.ActiveHubTrailer).ShouldNotBeNull();
        using var spoke = await ManualSpoke.DialAsync(identity);
        (await spoke.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.Hubs.ShouldNotBeEmpty();
    }

    static Task RaiseGenerationAsync(LinkHub link) =>
        link.Db.ExecuteAsync("UPDATE hosts SET generation = generation + 1", null, Cancel);

    static Task<string> RowVersionAsync(LinkHub link) =>
        link.Db.AskAsync<string>("SELECT xmin::text || ctid::text FROM vms", null, Cancel);

    static Task<IReadOnlyList<string>> AlertsAsync(LinkHub link) => link.Db.ListAsync<string>(
        "SELECT kind || ' ' || subject FROM alerts WHERE cleared IS NULL", null, Cancel);

    static Task InsertVmAsync(LinkHub link, string id) => link.Db.ExecuteAsync("""
        INSERT INTO accounts (email) VALUES ('ada@example.org') ON CONFLICT DO NOTHING;
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'Tiny', 'capsul', 1, 64)
        ON CONFLICT DO NOTHING;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, has_run)
        VALUES (@id, 'ada@example.org', @name, 'f1-xs', 'tiny', @sha, 'capsul', 'rack1', now(), 5, 1, 64, 1, 'running',
            'on', 1, TRUE)
        """, new { id, name = id[^3..], sha = VmRows.ImageSha256 }, Cancel);

    /// <summary>Another folder with the same files.</summary>
    static Identity Copy(Identity identity)
    {
        var data = TestFolder.Make("copy");
        var spoke = Directory.CreateDirectory(Path.Combine(data, "spoke")).FullName;
        foreach (var file in Directory.EnumerateFiles(identity.Folder))
            File.Copy(file, Path.Combine(spoke, Path.GetFileName(file)));
        return Identity.Load(data)!;
    }
}
