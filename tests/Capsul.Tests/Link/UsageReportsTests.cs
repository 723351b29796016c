using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Link;

/// <summary>What VMs have used, on its way from the hypervisor to a Hub that takes it.</summary>
public sealed class UsageReportsTests
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(Protocol.UsageSeconds);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_spoke_says_regularly_what_its_vms_have_used_once_the_hub_takes_it()
    {
        var time = new FakeTimeProvider();
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("usage"),
        });
        await using var hypervisor = new Simulated(settings, new ImageStore(settings.Images), time);
        hypervisor.Fill([("capsul-0123456789", "key")], time.GetUtcNow());
        var sending = Channel.CreateUnbounded<SpokeMessage>();
        var taken = new TaskCompletionSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var running = new UsageReports(hypervisor, time).RunAsync(sending.Writer, taken.Task, stop.Token);
        time.Advance(10 * Every);
        sending.Reader.TryRead(out _).ShouldBeFalse("a Hub of an earlier version would not know what it is");
        taken.SetResult();

        var first = await NextAsync();
        hypervisor.Inject(Verb.Usage, new Fault(FaultKind.Fail));
        var second = await NextAsync();
        second.CpuMs.ShouldBeGreaterThan(first.CpuMs);
        second.ReceivedBytes.ShouldBeGreaterThan(first.ReceivedBytes);
        second.SentBytes.ShouldBeGreaterThan(first.SentBytes);
        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => running);

        async Task<VmUsage> NextAsync()
        {
            SpokeMessage? said = null;
            await Until.TrueAsync("it says what was used", TimeSpan.FromSeconds(60), () =>
            {
                time.Advance(Every);
                return Task.FromResult(sending.Reader.TryRead(out said));
            });
            var used = said!.Usage.Vms.ShouldHaveSingleItem();
            used.Id.ShouldBe("capsul-0123456789");
            return used;
        }
    }

    [Fact]
    public async Task A_hub_says_that_it_takes_it()
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"));
        (await spoke.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.TakesUsage.ShouldBeTrue();
    }
}
