using Capsul.Hub.Features.Vms;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Engine;

/// <summary>VMs that have a further address, through every kind of operation.</summary>
public sealed partial class OperationHarnessTests
{
    /// <summary>As if it had been ordered before the operation began; on both hosts of a move.</summary>
    static async Task AddFurtherAsync(VmRows rows, string vm)
    {
        await rows.Db.ExecuteAsync(
            """
            ALTER TABLE vm_extras DISABLE TRIGGER vm_extras_of_living_vm;
            WITH x AS (INSERT INTO vm_extras (vm, kind, dollars_per_month, added)
                VALUES (@vm, 'ipv4-address', 2, @now) RETURNING id)
            UPDATE addresses a SET vm = @vm, extra = x.id FROM x
            WHERE a.vm IS NULL AND a.address = '10.77.0.3' AND a.host IN (SELECT host FROM addresses WHERE vm = @vm)
            """, new { vm, now = rows.Now }, Cancel);
        var extra = await rows.Db.AskAsync<long>("SELECT id FROM vm_extras WHERE vm = @vm", new { vm }, Cancel);
        await rows.Db.ExecuteAsync(ExtraSql.OpenUsage, new { extra, now = rows.Now }, Cancel);
    }

    [Theory, MemberData(nameof(Kinds))]
    public Task A_further_address_is_had_and_charged_as_its_vm_is_when_it_is_done(string kind) =>
        HasFurtherAsync(kind, WhenDone(kind), async (rows, vm, power, phase) =>
        {
            await SucceedAsync(rows, kind, vm, power, phase);
            await rows.SettleAsync(Cancel);
        });

    [Theory, MemberData(nameof(Kinds))]
    public Task A_further_address_is_had_and_charged_as_its_vm_is_when_it_fails(string kind) =>
        HasFurtherAsync(kind, WhenFailed(kind), async (rows, vm, _, _) =>
        {
            await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
                r => (r.Problem, r.ProblemFinal) = ("The disk of the host is full.", true));
            await EndAsync(rows, vm, kind);
        });

    static async Task HasFurtherAsync(
        string kind, Promise promise, Func<VmRows, string, Power, Phase, Task> carry)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        await AddFurtherAsync(rows, vm);
        await rows.SettleAsync(Cancel);
        await carry(rows, vm, power, phase);
        var charged = await rows.CountAsync("usage_spans", "upper_inf(span) AND extra IS NULL", Cancel);
        (await rows.CountAsync("usage_spans", "upper_inf(span) AND extra IS NOT NULL", Cancel)).ShouldBe(charged);
        var kept = promise.HasAddress ? 1 : 0;
        (await rows.CountAsync("addresses a JOIN vms v ON v.id = a.vm AND v.host = a.host", "a.extra IS NOT NULL",
            Cancel)).ShouldBe(kept);
        (await rows.CountAsync("vm_extras", "removed IS NULL", Cancel)).ShouldBe(kept);
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
    }
}
