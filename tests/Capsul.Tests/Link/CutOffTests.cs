using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Link;

/// <summary>A host says that its VMs are not connected to the outside.</summary>
public sealed class CutOffTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    sealed record CutOffRow(string CutOff, DateTime? CutOffSince);

    [Fact]
    public async Task It_is_known_since_when_vms_are_cut_off_until_they_no_longer_are()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var heartbeats = new Heartbeats(rows.Fence, rows.Time);
        (await BeatAsync("")).ShouldBe(new CutOffRow("", null));
        var since = rows.Time.GetUtcNow().UtcDateTime;
        (await BeatAsync("No bridge.")).ShouldBe(new CutOffRow("No bridge.", since));
        (await BeatAsync("Another reason.")).ShouldBe(new CutOffRow("Another reason.", since));
        (await BeatAsync("")).ShouldBe(new CutOffRow("", null));

        async Task<CutOffRow> BeatAsync(string cutOff)
        {
            heartbeats.Note(VmRows.Host, new HeartbeatRow(true, 1, "", 0, null, cutOff), 0, () => { });
            await heartbeats.SaveAsync(rows.Epoch, Cancel);
            rows.Time.Advance(TimeSpan.FromSeconds(30));
            return (await rows.Db.FindAsync<CutOffRow>(
                "SELECT cut_off, cut_off_since FROM hosts WHERE id = @id", new { id = VmRows.Host }, Cancel))!;
        }
    }

    [Theory]
    [InlineData("cut_off = 'No bridge.'"), InlineData("cut_off_since = now()")]
    public async Task A_reason_has_a_time_and_the_other_way_round(string change)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            $"UPDATE hosts SET {change}", null, Cancel))).ConstraintName.ShouldBe("hosts_cut_off_has_time");
    }
}
