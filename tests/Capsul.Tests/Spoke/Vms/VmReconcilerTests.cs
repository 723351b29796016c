using System.Collections.Concurrent;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>One VM's reconciler over a hypervisor that misbehaves.</summary>
public sealed partial class VmReconcilerTests : IAsyncLifetime
{
    const string Id = "capsul-reconcile0";
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    readonly Settings settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("reconciler"),
        ["CAPSUL_RELAY_PORTS"] = "31600-31699",
    });

    readonly ConcurrentQueue<VmReport> reports = new();
    readonly CancellationTokenSource stop = new();
    readonly List<Task> running = [];
    readonly List<VmReconciler> reconcilers = [];
    Simulated hypervisor = null!;
    VmRecords records = null!;
    Relays relays = null!;
    Image image = null!;

    public async ValueTask InitializeAsync()
    {
        var images = new ImageStore(settings.Images);
        Directory.CreateDirectory(images.Folder);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended");
        image = await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, CancellationToken.None);
        hypervisor = new Simulated(settings, images, TimeProvider.System) { BootTime = TimeSpan.FromMilliseconds(50) };
        await hypervisor.PrepareAsync(CancellationToken.None);
        records = new VmRecords(Path.Combine(settings.Data, "spoke", "vms"), NullLogger.Instance);
        records.LoadAll();
        relays = new Relays(settings, hypervisor.DialAsync, hypervisor.DialUdpAsync, NullLogger.Instance);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await relays.DisposeAsync();
        await hypervisor.DisposeAsync();
        stop.Dispose();
    }

    WantedVm Wanted(Power power, long generation) => new()
    {
        Id = Id,
        Power = power,
        Generation = generation,
        Name = "looked-after",
        Vcpus = 1,
        MemoryMb = 128,
        DiskGb = 1,
        ImageId = image.Id,
        ImageSha256 = image.Sha256,
        Mac = "52:54:0a:4d:00:02",
        Address = "10.77.0.2",
        SshKeys = { "ssh-ed25519 AAAA" },
    };

    VmReconciler Start(VmRecord? record = null)
    {
        var reconciler = new VmReconciler(record ?? VmRecord.New(1, Wanted(Power.On, 1)),
            hypervisor, records, relays, () => transfers, reports.Enqueue, TimeProvider.System, NullLogger.Instance);
        running.Add(Task.Run(() => reconciler.RunAsync(stop.Token)));
        reconcilers.Add(reconciler);
        return reconciler;
    }

    Task AwaitAsync(string what, Func<VmReport, bool> last) =>
        Until.TrueAsync(what, Limit, () => Task.FromResult(!reports.IsEmpty && last(reports.Last())));

    Task AwaitReadyAsync() => AwaitAsync("it is ready", r => r is { Power: Power.On, Phase: Phase.Ready, Problem: "" });

    [Fact]
    public void A_change_of_ports_alone_does_not_start_a_guest_that_has_stopped_itself()
    {
        var stopped = VmRecord.New(1, Wanted(Power.On, 5)) with { StoppedItself = 5, RanUnder = 5 };
        var ports = Wanted(Power.On, 6);
        ports.Ports.Add(new WantedPort { VmPort = 80, HostPort = 31000 });
        stopped.Answering(1, ports).ShouldSatisfyAllConditions(
            r => r.StoppedItself.ShouldBe(6), r => r.RanUnder.ShouldBe(6));
        stopped.Answering(1, Wanted(Power.On, 7)).StoppedItself.ShouldBe(0, "it was turned off and on");
        ports.Restarts++;
        stopped.Answering(1, ports).StoppedItself.ShouldBe(0);
    }

    [Fact]
    public void A_further_address_alone_does_not_start_a_guest_that_has_stopped_itself()
    {
        var stopped = VmRecord.New(1, Wanted(Power.On, 5)) with { StoppedItself = 5, RanUnder = 5 };
        var further = Wanted(Power.On, 6);
        further.FurtherAddresses.Add("10.77.0.3");
        var record = stopped.Answering(1, further);
        record.StoppedItself.ShouldBe(6);
        record.Spec.Further.ShouldBe([System.Net.IPAddress.Parse("10.77.0.3")]);
    }

    [Theory]
    [InlineData("10.77.0.3", true), InlineData("10.77.3", false), InlineData("010.77.0.3", false)]
    [InlineData("10.77.0.3 } ; flush ruleset", false), InlineData("::1", false), InlineData("", false)]
    [InlineData("0.0.0.0", false), InlineData("127.0.0.1", false), InlineData("255.255.255.255", false)]
    [InlineData("224.0.0.1", false), InlineData("::ffff:10.77.0.3", false)]
    public void A_further_address_that_is_none_is_not_taken(string address, bool sound)
    {
        var wanted = Wanted(Power.On, 5);
        wanted.FurtherAddresses.Add(address);
        WantedCheck.IsSound(wanted).ShouldBe(sound);
        wanted.FurtherAddresses.Clear();
        wanted.FurtherAddresses.AddRange(Enumerable.Range(2, 9).Select(n => $"10.77.0.{n}"));
        WantedCheck.IsSound(wanted).ShouldBeFalse("a VM has at most eight");
    }

    [Fact]
    public async Task Further_addresses_are_given_and_taken_while_the_guest_runs()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var wanted = Wanted(Power.On, 2);
        wanted.FurtherAddresses.Add("10.77.0.3");
        reconciler.Want(1, wanted);
        await Until.TrueAsync("it may use another address", Limit, () =>
            Task.FromResult(hypervisor.Further[Id].Select(a => $"{a}").SequenceEqual(["10.77.0.3"])));
        reconciler.Want(1, Wanted(Power.On, 3));
        await Until.TrueAsync("it may use it no longer", Limit, () =>
            Task.FromResult(hypervisor.Further[Id].Count == 0));
        await AwaitAsync("it has run all the time", r => r is { Power: Power.On, Generation: 3 });
    }

    [Fact]
    public void A_firewall_that_an_older_version_has_dropped_is_taken()
    {
        var known = VmRecord.New(1, Wanted(Power.On, 5));
        var wanted = Wanted(Power.On, 5);
        known.LacksFirewallOf(1, wanted).ShouldBeFalse();
        wanted.Firewall = new WantedFirewall { Owner = new string('0', 32) };
        known.LacksFirewallOf(1, wanted).ShouldBeTrue();
        known.LacksFirewallOf(2, wanted).ShouldBeFalse();
        known.Answering(1, wanted).LacksFirewallOf(1, wanted).ShouldBeFalse();
    }

    public static TheoryData<Verb, FaultKind> Misbehaviours()
    {
        var data = new TheoryData<Verb, FaultKind>();
        foreach (var verb in (Verb[])[Verb.Find, Verb.MakeDisk, Verb.Define, Verb.Start, Verb.Console, Verb.Dial])
        {
            foreach (var kind in (FaultKind[])[FaultKind.Fail, FaultKind.Hang, FaultKind.LoseAnswer, FaultKind.Slow])
                data.Add(verb, kind);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Misbehaviours))]
    public async Task A_verb_that_misbehaves_once_only_causes_a_delay(Verb verb, FaultKind kind)
    {
        hypervisor.Inject(verb, new Fault(kind, By: TimeSpan.FromMilliseconds(50)));
        Start();
        await AwaitReadyAsync();
        (await hypervisor.ListAsync(TestContext.Current.CancellationToken))
            .ShouldHaveSingleItem().Power.ShouldBe(DomainPower.On);
        if (kind == FaultKind.Hang && verb is not Verb.Dial)
            reports.ShouldContain(r => r.Power == Power.Unknown && r.Problem.Length > 0);
    }

    [Theory]
    [InlineData(Verb.MakeDisk)]
    [InlineData(Verb.Define)]
    [InlineData(Verb.Start)]
    public async Task A_permanent_failure_is_reported_as_final_and_a_newer_wanted_state_is_accepted(Verb verb)
    {
        hypervisor.Inject(verb, new Fault(FaultKind.FailFinal, Message: "The disk is broken."));
        var reconciler = Start();
        await AwaitAsync("it has given up", r => r is { ProblemFinal: true, Problem: "The disk is broken." });
        reconciler.Want(1, Wanted(Power.Gone, 2)).ShouldBeTrue();
        await AwaitAsync("nothing is left", r => r is { Power: Power.Gone, Generation: 2 });
        (await hypervisor.ListAsync(TestContext.Current.CancellationToken)).ShouldBeEmpty();
        records.LoadAll().ShouldBeEmpty();
    }

    [Theory]
    [InlineData(Verb.Remove, FaultKind.Fail)]
    [InlineData(Verb.Remove, FaultKind.Hang)]
    [InlineData(Verb.Remove, FaultKind.LoseAnswer)]
    public async Task A_removal_that_misbehaves_once_is_retried(Verb verb, FaultKind kind)
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        hypervisor.Inject(verb, new Fault(kind, By: TimeSpan.FromMilliseconds(50)));
        reconciler.Want(1, Wanted(Power.Gone, 2)).ShouldBeTrue();
        await AwaitAsync("nothing is left", r => r.Power == Power.Gone);
        (await hypervisor.ListAsync(TestContext.Current.CancellationToken)).ShouldBeEmpty();
    }

    [Theory]
    [InlineData(FaultKind.Fail)]
    [InlineData(FaultKind.Hang)]
    [InlineData(FaultKind.LoseAnswer)]
    public async Task A_stop_that_misbehaves_once_is_retried(FaultKind kind)
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        hypervisor.Inject(Verb.Shutdown, new Fault(kind, By: TimeSpan.FromMilliseconds(50)));
        var off = Wanted(Power.Off, 2);
        off.StopGraceSeconds = 30;
        reconciler.Want(1, off).ShouldBeTrue();
        await AwaitAsync("it is off", r => r is { Power: Power.Off, Generation: 2, Problem: "" });
    }

    [Fact]
    public async Task A_guest_that_obeys_a_withdrawn_request_late_is_started_again()
    {
        hypervisor.GuestListens = false;
        var reconciler = Start();
        await AwaitReadyAsync();
        var off = Wanted(Power.Off, 2);
        off.StopGraceSeconds = 600;
        reconciler.Want(1, off).ShouldBeTrue();
        await Until.TrueAsync("the guest was asked", Limit, () =>
            Task.FromResult(records.LoadAll().Single().AskedAt > 0));
        reconciler.Want(1, Wanted(Power.On, 3)).ShouldBeTrue();
        await AwaitAsync("it runs on", r => r is { Power: Power.On, Phase: Phase.Ready, Generation: 3 });
        hypervisor.PowerOffFromInside(Id);
        reconciler.Look();
        await Until.TrueAsync("it was off", Limit, () =>
            Task.FromResult(reports.Any(r => r is { Power: Power.Off, Generation: 3 })));
        await AwaitAsync("it runs again", r => r is { Power: Power.On, Phase: Phase.Ready, Generation: 3 });
        reports.ShouldNotContain(r => r.StoppedItself);
    }

    [Fact]
    public async Task A_guest_paused_by_a_full_disk_goes_on_when_there_is_room()
    {
        Start();
        await AwaitReadyAsync();
        hypervisor.FillDisk();
        running.Add(PassOnAsync());
        await AwaitAsync("it is paused", r => r is { Power: Power.On, Paused: true, ProblemFinal: false }
            && r.Problem == VmReconciler.OutOfSpace);
        hypervisor.FreeDisk();
        await AwaitReadyAsync();
        reports.Last().Paused.ShouldBeFalse();
        reports.ShouldNotContain(r => r.Power == Power.Off && r.Phase == Phase.None);
        hypervisor.DisksMade[Id].ShouldBe(1);
    }

    [Fact]
    public async Task A_paused_guest_that_is_to_be_off_is_turned_off_after_its_time()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        hypervisor.FillDisk();
        var off = Wanted(Power.Off, 2);
        off.StopGraceSeconds = 1;
        reconciler.Want(1, off).ShouldBeTrue();
        await AwaitAsync("it is off", r => r is { Power: Power.Off, Generation: 2, Problem: "", Paused: false });
        reports.ShouldContain(r => r.Paused && r.Generation == 2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_machine_that_was_adopted_for_good_is_not_given_back_although_it_is_off_or_deleted_at_once(
        bool stopsFirst)
    {
        var machine = new Capsul.Spoke.Hypervisor.ForeignMachine("00000000-0000-4000-8000-000000000001", "legacy",
            DomainPower.On, 1, 128, 1, "qcow2", "52:54:00:00:00:07", "");
        hypervisor.AddForeign(machine);
        WantedVm Adopt(Power power, long generation)
        {
            var wanted = Wanted(power, generation);
            (wanted.ImageId, wanted.HasRun, wanted.Adopt) = (Protocol.AdoptedImage, true, machine.Uuid);
            wanted.Adopted = generation > 1;
            return wanted;
        }
        var reconciler = Start(VmRecord.New(1, Adopt(Power.On, 1)));
        await AwaitReadyAsync();
        if (stopsFirst)
        {
            reconciler.Want(1, Adopt(Power.Off, 2)).ShouldBeTrue();
            await AwaitAsync("it is off", r => r is { Power: Power.Off, Generation: 2 });
        }
        reconciler.Want(1, Adopt(Power.Gone, 3)).ShouldBeTrue();
        await AwaitAsync("nothing is left", r => r is { Power: Power.Gone, Generation: 3 });
        (await hypervisor.ForeignAsync(stop.Token)).ShouldBeEmpty("its owner deleted it");
    }

    /// <summary>Passes on what the hypervisor says.</summary>
    async Task PassOnAsync()
    {
        await foreach (var _ in hypervisor.Changes.ReadAllAsync(stop.Token)) reconcilers.ForEach(r => r.Look());
    }

    [Fact]
    public async Task A_reconciler_that_finds_the_vm_running_completes_the_start_once()
    {
        var spec = VmRecord.New(1, Wanted(Power.On, 1)).Spec;
        await hypervisor.MakeDiskAsync(spec, TestContext.Current.CancellationToken);
        await hypervisor.DefineAsync(spec, TestContext.Current.CancellationToken);
        await hypervisor.StartAsync(spec, TestContext.Current.CancellationToken);
        hypervisor.Inject(Verb.Start, new Fault(FaultKind.Fail, Message: "The address could not be served."));
        Start();
        await AwaitAsync("the start is not complete", r => r.Problem == "The address could not be served.");
        await AwaitReadyAsync();
    }
}
