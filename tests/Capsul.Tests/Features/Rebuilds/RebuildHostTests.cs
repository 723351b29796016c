using Capsul.Hub.Features.Rebuilds;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Rebuilds;

public sealed class RebuildHostTests
{
    const string Host = "rack1";

    static RecoverableVm Vm(int number, string name = "web", string? address = null, long epoch = 1,
        long generation = 1, string email = "ada@example.org", string wanted = "on") => new(
        $"capsul-000000000{number}", epoch, generation, email, name, "f1-xs", 5m, 1, 512, 25, "tiny",
        VmRows.ImageSha256, "capsul", DateTime.UnixEpoch, wanted, $"52:54:0a:4d:00:0{number}",
        address ?? $"10.77.0.{number}", [], true);

    static RebuildHost.Facts Facts(
        (string Id, string Host)[]? vms = null, string[]? names = null,
        (string Address, string Vm)[]? addresses = null) =>
        new((vms ?? []).ToDictionary(v => v.Id, v => v.Host, StringComparer.Ordinal),
            (names ?? []).ToHashSet(StringComparer.Ordinal),
            (addresses ?? []).ToDictionary(a => a.Address, a => a.Vm, StringComparer.Ordinal));

    [Fact]
    public void An_older_record_of_the_same_vm_is_ignored()
    {
        var plan = RebuildHost.Decide(Host,
            [Vm(1, "old", epoch: 5, generation: 3), Vm(1, "new", epoch: 5, generation: 4),
                Vm(1, "older", epoch: 4, generation: 9)], Facts());
        plan.Vms.ShouldHaveSingleItem().Name.ShouldBe("new");
        plan.Notes.ShouldBeEmpty();
    }

    [Fact]
    public void Of_two_vms_with_one_address_the_newer_record_wins()
    {
        var plan = RebuildHost.Decide(Host,
            [Vm(1, "deleted", "10.77.0.9", epoch: 1), Vm(2, "web", "10.77.0.9", epoch: 2)], Facts());
        plan.Vms.ShouldHaveSingleItem().Id.ShouldBe("capsul-0000000002");
        plan.Notes.ShouldBe(["capsul-0000000001: its address 10.77.0.9 belongs to capsul-0000000002."]);
    }

    [Fact]
    public void An_address_that_the_database_has_given_away_is_not_taken()
    {
        var plan = RebuildHost.Decide(Host, [Vm(1)], Facts(addresses: [("10.77.0.1", "capsul-9999999999")]));
        plan.Vms.ShouldBeEmpty();
        plan.Notes.ShouldBe(["capsul-0000000001: its address 10.77.0.1 belongs to capsul-9999999999."]);
    }

    [Fact]
    public void A_name_that_the_account_has_already_gets_a_number()
    {
        var longest = new string('a', 63);
        var plan = RebuildHost.Decide(Host,
            [Vm(1), Vm(2, epoch: 2), Vm(3, email: "bob@example.org"), Vm(4, longest)],
            Facts(names: ["ada@example.org web-2", $"ada@example.org {longest}"]));
        plan.Vms.OrderBy(v => v.Id, StringComparer.Ordinal).Select(v => v.Name)
            .ShouldBe(["web-3", "web", "web", longest[..61] + "-2"]);
        plan.Notes.ShouldContain("capsul-0000000001: ada@example.org has another web; it is now web-3.");
    }

    [Fact]
    public void What_the_database_has_is_not_changed_and_another_hosts_vm_is_reported()
    {
        var plan = RebuildHost.Decide(Host, [Vm(1, "other"), Vm(2)],
            Facts(vms: [("capsul-0000000001", Host), ("capsul-0000000002", "rack2")]));
        plan.Vms.ShouldBeEmpty();
        plan.Present.ShouldBe(1);
        plan.Notes.ShouldBe(["capsul-0000000002: it is already on rack2."]);
    }

    [Fact]
    public void Of_a_vm_that_two_hosts_have_the_one_it_was_moved_to_counts_whichever_comes_first()
    {
        var here = Facts(vms: [("capsul-0000000001", "rack2")]) with
        {
            Rebuilt = new Dictionary<string, int>(StringComparer.Ordinal) { ["capsul-0000000001"] = 4 },
        };
        var newer = RebuildHost.Decide(Host, [Vm(1) with { Moves = 5 }], here);
        newer.TakenOver.ShouldHaveSingleItem().Id.ShouldBe("capsul-0000000001");
        newer.Notes.ShouldBe(["capsul-0000000001: rack2 had an old copy of it, which is left alone there."]);
        RebuildHost.Decide(Host, [Vm(1, generation: 99) with { Moves = 3 }], here).ShouldSatisfyAllConditions(
            p => p.TakenOver.ShouldBeEmpty(),
            p => p.Vms.ShouldBeEmpty(),
            p => p.Notes.ShouldBe(["capsul-0000000001: it is already on rack2."]));
        // A host that has been told already is not taken anything from.
        RebuildHost.Decide(Host, [Vm(1) with { Moves = 9 }], Facts(vms: [("capsul-0000000001", "rack2")]))
            .TakenOver.ShouldBeEmpty();
    }

    [Fact]
    public void A_vm_that_was_being_deleted_stays_deleted() =>
        RebuildHost.Decide(Host, [Vm(1, wanted: "gone")], Facts()).ShouldSatisfyAllConditions(
            p => p.Vms.ShouldBeEmpty(),
            p => p.Notes.ShouldBe(["capsul-0000000001: it was being deleted."]));

    [Fact]
    public void Only_an_empty_or_a_rebuilt_database_with_the_authority_is_rebuilt()
    {
        var copy = new RecoveryCopy(9, [], [], [new(RecoveryCopy.AuthorityName, [1])]);
        RebuildDatabase.Decide(new ContentsRow(IsEmpty: true, WasRebuilt: false), false, copy).ShouldBeNull();
        RebuildDatabase.Decide(new ContentsRow(IsEmpty: false, WasRebuilt: true), false, null).ShouldBeNull();
        RebuildDatabase.Decide(new ContentsRow(IsEmpty: true, WasRebuilt: false), true, null).ShouldBeNull();
        RebuildDatabase.Decide(new ContentsRow(IsEmpty: false, WasRebuilt: false), true, copy)!.Message
            .ShouldContain("only an empty one can be rebuilt");
        RebuildDatabase.Decide(new ContentsRow(IsEmpty: true, WasRebuilt: false), false, null)!.Message
            .ShouldContain("hub/recovery.json");
    }
}
