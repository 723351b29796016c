using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Capsul.Tests.Features.Vms;

/// <summary>What the list of VMs asks the database, and what its open pages are told.</summary>
public sealed class ListVmsTests
{
    static readonly TimeSpan Soon = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_list_takes_two_round_trips()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        await visitor.ReadAsync("/console", Cancel);
        using var counted = new SentStatements(hub);
        (await visitor.ReadAsync("/console", Cancel)).ShouldContain("engine");
        counted.Names.ShouldBe(["AccountSql.FindSession", "VmPageSql.ListByNewest"]);
    }

    [Fact]
    public async Task Open_pages_of_an_account_share_one_query_and_those_of_others_ask_nothing()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES ('bob@example.org')", null, Cancel);
        var watches = hub.Services.GetRequiredService<AccountWatches>();
        using var bob = watches.Watch("bob@example.org");
        using var first = watches.Watch(Sample.Email);
        using var second = watches.Watch(Sample.Email);
        using var counted = new SentStatements(hub);
        // Repeated until the listener has connected; a notification before that is not seen.
        await Until.TrueAsync("both pages are told", Soon, async () =>
        {
            await hub.Db.ExecuteAsync("UPDATE vms SET problem = problem || '!' WHERE id = 'capsul-creating00'",
                null, Cancel);
            await first.WaitAsync(Soon, Cancel);
            await second.WaitAsync(Soon, Cancel);
            return first.Version is not null && first.Version == second.Version;
        });
        bob.Version.ShouldBeNull();
        var (asked, changes) = (counted.Names.Count(n => n == "BillingSql.Changes"), counted.Names.Count(n => n == ""));
        asked.ShouldBeInRange(1, changes, "one query for a change, however many pages are open");
    }

    [Fact]
    public async Task What_a_page_does_not_show_is_not_a_change()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        var before = await ChangesAsync(hub);
        await hub.Db.ExecuteAsync("UPDATE vms SET observed_at = now(), console_tail = 'x', phase = 6", null, Cancel);
        (await ChangesAsync(hub)).ShouldBe(before);
        await hub.Db.ExecuteAsync("UPDATE vms SET observed = 'off' WHERE id = 'capsul-stopped000'", null, Cancel);
        await hub.Db.ExecuteAsync("UPDATE vms SET observed = 'unknown' WHERE id = 'capsul-stopped000'", null, Cancel);
        (await ChangesAsync(hub)).ShouldBe(before + 1, "it was off already");
    }

    [Fact]
    public async Task Pages_of_the_list_have_every_VM_once_in_every_order()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        for (var n = 0; n < 7; n++)
            await Sample.AddVmAsync(hub, $"capsul-{n:0000000000}", $"n{n * 3 % 7}",
                n == 3 ? "failed" : "running", "on", 6, "", Cancel);
        foreach (var sql in (string[])[VmPageSql.ListByName, VmPageSql.ListByNewest, VmPageSql.ListByPrice])
        {
            var seen = new List<ListedVmRow>();
            while (true)
            {
                var found = await hub.Db.ListPairsAsync<VmListRow, ListedVmRow>(sql, new
                {
                    email = Sample.Email,
                    now = hub.Now,
                    search = "",
                    state = "",
                    after = seen.Count == 0 ? "" : seen[^1].Id,
                    limit = 2,
                }, Cancel);
                found.ShouldAllBe(row => row.First.All == 7 && row.First.Matching == 7);
                var page = found.Select(row => row.Second).OfType<ListedVmRow>().ToList();
                if (page.Count == 0) break;
                seen.AddRange(page);
            }
            // Created at the same time, at the same price: by ID then.
            seen.ShouldBe(sql == VmPageSql.ListByName
                ? seen.OrderBy(v => v.Name, StringComparer.Ordinal).ToList()
                : seen.OrderByDescending(v => v.Id, StringComparer.Ordinal).ToList());
            seen.Count.ShouldBe(7);
        }
    }

    [Fact]
    public async Task A_pooled_connection_keeps_no_state_of_its_session()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var path in (string[])["/console", "/balance", "/vms/new", "/vms/capsul-running000", "/keys"])
            await visitor.ReadAsync(path, Cancel);
        await visitor.PostAsync("/vms/capsul-running000", "/vms/capsul-running000?handler=stop", Cancel);
        var all = new List<NpgsqlConnection>();
        for (var n = 0; n < 12; n++) all.Add(await hub.Db.OpenAsync(Cancel));
        foreach (var connection in all)
        {
            await using var command = new NpgsqlCommand(
                """
                SELECT concat_ws(' ',
                    (SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings WHERE source = 'session'),
                    (SELECT string_agg(c, ' ') FROM pg_listening_channels() AS c), nullif(pg_my_temp_schema(), 0),
                    (SELECT string_agg(name, ' ') FROM pg_cursors WHERE name <> ''),
                    (SELECT string_agg(mode, ' ') FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'))
                """, connection);
            // What every connection of the pool begins with.
            (await command.ExecuteScalarAsync(Cancel))
                .ShouldBe("enable_bitmapscan jit plan_cache_mode random_page_cost");
            await connection.DisposeAsync();
        }
    }

    static Task<long> ChangesAsync(WebHub hub) => hub.Db.FindAsync<long>(
        "SELECT changes FROM account_totals WHERE email = @email", new { email = Sample.Email }, Cancel);
}
