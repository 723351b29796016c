using System.Globalization;
using Capsul.Hub.Features.Payments;
using Capsul.Play;

namespace Capsul.Tests.Features.Payments;

/// <summary>
/// Payments, refunds and disputes in any order, while the provider and the Hub misbehave: in the end every balance is
/// what the provider's own list says.
/// </summary>
public sealed class SeededPaymentsTests
{
    const int Steps = 60;

    static readonly string[] Emails = ["ada@example.org", "bob@example.org"];

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<int> Seeds() => new(Enumerable.Range(1, 10));

    [Theory, MemberData(nameof(Seeds))]
    public async Task Every_balance_is_what_the_provider_says(int seed)
    {
        await using var world = await PaymentWorld.StartAsync();
        var random = new Random(seed);
        await world.PaidAsync("25", Emails[0]);
        world.Stripe.Faults.Seed(seed);
        (world.Stripe.Faults.LostEvents, world.Stripe.Faults.RepeatedEvents) = (0.3, 0.5);
        (world.Stripe.Faults.LostAnswers, world.Stripe.Faults.ShufflesEvents) = (0.2, true);
        for (var n = 0; n < Steps; n++) await StepAsync(world, random);
        (world.Stripe.Faults.LostAnswers, world.Stripe.Faults.IsDown) = (0, false);
        // Nothing is told any more: half a year of asking is enough.
        foreach (var days in (int[])[0, 1, 3, 40])
            await world.WaitAsync(TimeSpan.FromDays(days) + TimeSpan.FromHours(2));
        await world.AgreesAsync();
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events WHERE handled IS NULL", null, Cancel))
            .ShouldBe(0);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_refunds WHERE status = 'open'", null, Cancel))
            .ShouldBe(0);
    }

    static async Task StepAsync(PaymentWorld world, Random random)
    {
        var books = world.Stripe.Books;
        // A person can only pay on a page that was shown: not on one whose answer was lost for good.
        var known = (await world.Db.ListAsync<string>(
            "SELECT reference FROM provider_payments WHERE reference IS NOT NULL", null, Cancel)).ToHashSet();
        var shown = books.Sessions.Where(s => known.Contains(s.Id)).ToList();
        var session = shown[random.Next(shown.Count)];
        switch (random.Next(13))
        {
            case 0 or 1:
                await world.TryBeginAsync(
                    random.Next(5, 100).ToString(CultureInfo.InvariantCulture), Emails[random.Next(2)]);
                break;
            case 2 or 3:
                books.Pay(session.Id);
                break;
            case 4:
                if (random.Next(2) == 0) books.PayLater(session.Id);
                else books.Arrive(session.Id);
                break;
            case 5:
                Disturb(books, session, random);
                break;
            case 6:
                await RefundAsync(world, random);
                break;
            case 7:
                world.Stripe.Faults.IsDown = random.Next(3) == 0;
                break;
            case 8:
                await world.TakeSeatAsync();
                break;
            case 9:
                world.Advance(TimeSpan.FromMinutes(random.Next(1, 600)));
                break;
            case 10:
                // The bank did not take it after all.
                if (session.Refunds.Find(r => r.Counts) is { } sent && session.Dispute.Length == 0)
                    books.TurnRefund(sent.Id, "failed", "declined");
                break;
            default:
                await world.SettleAsync();
                break;
        }
    }

    static void Disturb(PlayBooks books, PlaySession session, Random random)
    {
        if (!session.IsPaid) books.Expire(session.Id);
        else if (random.Next(3) == 0 && session.Dispute.Length == 0 && session.Amount - session.Refunded > 100)
            books.AddRefund(new Dictionary<string, string>(StringComparer.Ordinal)
            { ["payment_intent"] = session.Intent, ["amount"] = "100" });
        // A dispute is about what is left of a charge; ours are about all of it.
        else if (session.Refunded == 0)
            books.Dispute(session.Id, session.Dispute switch
            {
                "" => "needs_response",
                "needs_response" => random.Next(2) == 0 ? "won" : "lost",
                var decided => decided,
            });
    }

    static async Task RefundAsync(PaymentWorld world, Random random)
    {
        var count = await world.Db.AskAsync<int>("SELECT count(*)::integer FROM provider_payments", null, Cancel);
        if (count > 0)
            await RefundPayment.RunAsync(world.Db, world.Settings, PaymentWorld.Operator, random.Next(1, count + 1),
                random.Next(2) == 0 ? null : "2.50", "seeded", world.Hub.Time, Cancel);
    }
}
