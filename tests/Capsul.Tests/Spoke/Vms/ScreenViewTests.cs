using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Spoke.Vms;

public sealed class ScreenViewTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Whatever a guest makes QEMU send: nothing of it is read here.</summary>
    [Fact]
    public async Task Bytes_are_passed_on_as_they_are_in_parts_that_a_message_can_carry()
    {
        var (here, there) = Line.Pair();
        await using var view = new ScreenView(here, TimeProvider.System);
        var sent = new byte[100_000];
        new Random(7).NextBytes(sent);
        var sending = SendAsync();
        var got = new List<byte>();
        await foreach (var part in view.ReadAsync(Cancel))
        {
            part.Length.ShouldBeLessThanOrEqualTo(StreamLimits.ChunkBytes);
            got.AddRange(part.ToArray());
        }
        await sending;
        got.ShouldBe(sent);

        async Task SendAsync()
        {
            await there.Output.WriteAsync(sent, Cancel);
            await there.Output.CompleteAsync();
        }
    }

    [Fact]
    public async Task Who_does_not_read_lets_the_sender_wait()
    {
        var (here, there) = Line.Pair();
        await using var view = new ScreenView(here, TimeProvider.System);
        var sending = there.Output.WriteAsync(new byte[1 << 20], Cancel).AsTask();
        await using var parts = view.ReadAsync(Cancel).GetAsyncEnumerator(Cancel);
        (await parts.MoveNextAsync()).ShouldBeTrue();
        sending.IsCompleted.ShouldBeFalse("the rest waits at the sender");
        for (var left = (1 << 20) - parts.Current.Length; left > 0; left -= parts.Current.Length)
            (await parts.MoveNextAsync()).ShouldBeTrue();
        await sending;
    }

    [Fact]
    public async Task More_than_a_second_of_bytes_at_once_has_to_wait()
    {
        var time = new FakeTimeProvider();
        var pace = new Pace(1000, time);
        pace.SpendAsync(1000, Cancel).IsCompleted.ShouldBeTrue();
        var waiting = pace.SpendAsync(500, Cancel);
        time.Advance(TimeSpan.FromMilliseconds(499));
        waiting.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromMilliseconds(1));
        await waiting;
        // What was not used long ago is not saved up.
        time.Advance(TimeSpan.FromMinutes(1));
        pace.SpendAsync(1000, Cancel).IsCompleted.ShouldBeTrue();
        pace.SpendAsync(1, Cancel).IsCompleted.ShouldBeFalse();
    }

    [Fact]
    public async Task A_screen_that_takes_nothing_is_given_up()
    {
        var (here, _) = Line.Pair();
        var time = new FakeTimeProvider();
        await using var view = new ScreenView(here, time);
        var typing = view.TypeAsync(new byte[1 << 20], Cancel);
        typing.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromSeconds(11));
        (await Should.ThrowAsync<HypervisorException>(typing)).Message.ShouldBe(
            "The screen does not take what is typed.");
    }

    /// <summary>Whose time of day can be set back.</summary>
    sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = DateTimeOffset.UnixEpoch.AddYears(50);

        public long Seconds { get; set; }

        public override DateTimeOffset GetUtcNow() => Now;

        public override long GetTimestamp() => Seconds;

        public override long TimestampFrequency => 1;
    }

    [Fact]
    public void A_clock_that_is_set_back_stops_no_screen()
    {
        var clock = new Clock();
        var pace = new Pace(1000, clock);
        pace.SpendAsync(1000, Cancel).IsCompleted.ShouldBeTrue();
        clock.Now -= TimeSpan.FromHours(1);
        clock.Seconds = 1;
        pace.SpendAsync(1000, Cancel).IsCompleted.ShouldBeTrue();
    }

    [Fact]
    public async Task A_vm_that_hangs_holds_one_call()
    {
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("screens"),
        });
        await using var hypervisor = new Simulated(settings, new ImageStore(settings.Images), TimeProvider.System);
        hypervisor.Inject(Verb.OpenScreen, new Fault(FaultKind.Hang, By: TimeSpan.FromHours(1)));
        var screens = new Screens(hypervisor, TimeProvider.System);
        using var first = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var hanging = screens.OpenAsync("capsul-hanging000", first.Token);
        await RefusedAsync("Its screen is being opened already. Try again in a moment.");
        await first.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => hanging);
        await RefusedAsync("It is off.");

        async Task RefusedAsync(string why) => (await Should.ThrowAsync<HypervisorException>(
            () => screens.OpenAsync("capsul-hanging000", Cancel))).Message.ShouldBe(why);
    }
}
