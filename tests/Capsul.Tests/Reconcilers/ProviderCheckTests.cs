using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Features.Payments;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Reconcilers;

/// <summary>What a provider has against what is here, by itself and on the public page.</summary>
public sealed class ProviderCheckTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Fence FenceOf(PaymentWorld world) =>
        new(world.Db, new Listener(world.Db, world.Hub.Time, NullLogger<Listener>.Instance));

    static PaymentProviders ProvidersOf(PaymentWorld world) =>
        world.Hub.Services.GetRequiredService<PaymentProviders>();

    static Task<int> LookAsync(PaymentWorld world, PaymentProviders? providers = null, long? epoch = null) =>
        new ProviderCheck(world.Db, FenceOf(world), world.Settings, providers ?? ProvidersOf(world), world.Hub.Time,
            NullLogger<ProviderCheck>.Instance).LookAsync(epoch ?? world.Epoch, Cancel);

    static Task<ProviderTotalRow> RowAsync(PaymentWorld world) =>
        world.Db.AskAsync<ProviderTotalRow>(ProviderTotalSql.List, null, Cancel);

    static async Task<IReadOnlyList<string>> AlertsAsync(PaymentWorld world)
    {
        await new AlertWatch(world.Db, FenceOf(world), world.Settings, new LinkAuthority(world.Hub.Now.AddYears(20)),
            world.Hub.Time).LookAsync(world.Epoch, Cancel);
        return [.. (await world.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel))
            .Where(a => a.Kind == RaiseAlert.ProviderDiffers).Select(a => a.Message)];
    }

    [Fact]
    public async Task What_a_provider_has_is_compared_once_a_day_and_shown_to_everybody()
    {
        await using var world = await PaymentWorld.StartAsync(("CAPSUL_PUBLIC_LEDGER", "on"));
        using var stranger = world.Hub.Visit();
        (await stranger.ReadAsync("/ledger", Cancel)).ShouldNotContain("Payment providers");
        await world.PaidAsync("20");
        await world.PaidAsync("12.34");
        // Begun, and paid by nobody.
        await world.BeginAsync("500");
        (await LookAsync(world)).ShouldBe(1);
        var row = await RowAsync(world);
        (row.PaidThere, row.PaidHere, row.Differences, row.DiffersSince, row.Problem).ShouldBe(
            (32.34m, 32.34m, 0, null, ""));
        var page = await stranger.ReadAsync("/ledger", Cancel);
        page.ShouldContain("Stripe: payments");
        page.ShouldContain("$32.34");
        page.ShouldContain("compared");
        page.ShouldNotContain("@example.org");
        (await LookAsync(world)).ShouldBe(0);
        world.Advance(TimeSpan.FromHours(23));
        (await LookAsync(world)).ShouldBe(0);
        world.Advance(TimeSpan.FromHours(2));
        (await LookAsync(world)).ShouldBe(1);
        // What is older than the time that is compared is on neither side.
        world.Advance(TimeSpan.FromDays(40));
        await LookAsync(world);
        row = await RowAsync(world);
        (row.PaidThere, row.PaidHere, row.Differences).ShouldBe((0, 0, 0));
    }

    [Fact]
    public async Task A_difference_is_an_alert_when_it_is_still_there_an_hour_later()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.PaidAsync("20");
        // Made by this installation, and lost by its database.
        var lost = (await ProvidersOf(world).Find("stripe")!.CreateCheckoutAsync(new CheckoutRequest(
            PaymentKey.Make(), "bob@example.org", 30, "USD", "https://example.org/"), Cancel)).OrThrow();
        world.Stripe.Books.Pay(lost.Reference);
        await LookAsync(world);
        var row = await RowAsync(world);
        (row.PaidThere, row.PaidHere, row.Differences, row.DiffersSince).ShouldBe((50, 20, 1, world.Hub.Now));
        (await AlertsAsync(world)).ShouldBeEmpty("somebody may have paid at that moment");
        world.Advance(TimeSpan.FromMinutes(61));
        (await LookAsync(world)).ShouldBe(1, "sooner than a day");
        (await AlertsAsync(world)).ShouldHaveSingleItem().ShouldContain("in 1 payment or refund");

        var since = world.Hub.Now - ProviderCheck.Window;
        var import = (await ReconcileProvider.RunAsync(world.Db, world.Settings, ProvidersOf(world).Find("stripe")!,
            since, import: true, "test", world.Hub.Time, Cancel)).OrThrow();
        (import.Payments.Imported, import.Left).ShouldBe((1, 0));
        await world.LookAsync();
        world.Advance(TimeSpan.FromMinutes(61));
        await LookAsync(world);
        row = await RowAsync(world);
        (row.PaidThere, row.PaidHere, row.DiffersSince).ShouldBe((50, 50, null));
        (await AlertsAsync(world)).ShouldBeEmpty();
        await world.AgreesAsync();
    }

    [Fact]
    public async Task What_is_paid_here_and_not_there_is_named()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.PaidAsync("20");
        await world.Db.ExecuteAsync("""
            INSERT INTO provider_payments (provider, email, amount, key, created, return_to, reference, status,
                received)
            VALUES ('stripe', @email, 7, 'capsul-00000000000000000000000000000000', @now, '', 'cs_forged', 'paid', 7)
            """, new { email = PaymentWorld.Email, now = world.Hub.Now }, Cancel);
        await LookAsync(world);
        var row = await RowAsync(world);
        (row.PaidThere, row.PaidHere, row.Differences).ShouldBe((20, 27, 1));
        var found = (await ReconcilePayments.RunAsync(world.Db, ProvidersOf(world).Find("stripe")!,
            world.Hub.Now.AddDays(-1), import: true, "test", world.Hub.Time, Cancel)).OrThrow();
        found.Differences.ShouldHaveSingleItem().What.ShouldEndWith("here, and not there");
        found.Imported.ShouldBe(0, "nobody can put that right but a person");
    }

    [Fact]
    public async Task A_provider_that_is_down_is_said_and_what_was_found_before_stays()
    {
        await using var world = await PaymentWorld.StartAsync(("CAPSUL_PUBLIC_LEDGER", "on"));
        await world.PaidAsync("20");
        await LookAsync(world);
        world.Advance(TimeSpan.FromHours(25));
        using var down = new PaymentProviders(world.Settings.With(("CAPSUL_STRIPE_API", "http://127.0.0.1:1/")));
        (await LookAsync(world, down)).ShouldBe(1);
        var row = await RowAsync(world);
        (row.Problem, row.PaidThere, row.Tried).ShouldBe(("Stripe did not answer.", 20, world.Hub.Now));
        row.At.ShouldBe(world.Hub.Now - TimeSpan.FromHours(25));
        using var stranger = world.Hub.Visit();
        (await stranger.ReadAsync("/ledger", Cancel)).ShouldContain("No answer when it was asked last");
        using var ops = await world.Hub.SignInAsync(PaymentWorld.Operator, Cancel);
        (await ops.ReadAsync("/operator/payments", Cancel)).ShouldContain("Stripe did not answer.");
        (await LookAsync(world, down)).ShouldBe(0);
        world.Advance(TimeSpan.FromMinutes(61));
        (await LookAsync(world)).ShouldBe(1);
        (await RowAsync(world)).Problem.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_Hub_that_lost_the_seat_writes_nothing()
    {
        await using var world = await PaymentWorld.StartAsync();
        var before = world.Epoch;
        await world.TakeSeatAsync();
        await Should.ThrowAsync<FencedException>(() => LookAsync(world, epoch: before));
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_totals", null, Cancel)).ShouldBe(0);
    }

    [Theory]
    [InlineData("paid_there = 5", "provider_totals_differ")]
    [InlineData("differs_since = now()", "provider_totals_differ")]
    [InlineData("differences = 1", "provider_totals_differ")]
    [InlineData("since = NULL", "provider_totals_compared")]
    [InlineData("at = NULL, since = NULL", "provider_totals_never_compared")]
    [InlineData("differences = -1, differs_since = NULL", "provider_totals_differences_check")]
    [InlineData("unbooked = -1", "provider_totals_unbooked_check")]
    [InlineData("provider = 'other'", "provider_totals_provider_check")]
    public async Task The_table_does_not_contradict_itself(string change, string constraint)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "INSERT INTO provider_totals (provider, tried, at, since, sent_there) "
                + "VALUES ('stripe', now(), now(), now() - interval '30 days', 3)", null, Cancel);
        (await Should.ThrowAsync<PostgresException>(() =>
            database.Db.ExecuteAsync($"UPDATE provider_totals SET {change}", null, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }
}
