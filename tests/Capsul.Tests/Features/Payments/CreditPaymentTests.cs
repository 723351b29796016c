using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Bank;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Features.Payments.Stripe;

namespace Capsul.Tests.Features.Payments;

public sealed class CreditPaymentTests
{
    static CreditPayment.Plan Decide(decimal received, decimal credited, decimal sending, params CreditRow[] rows) =>
        CreditPayment.Decide(new CreditPayment.Facts(
            new PaymentState(PaymentStatus.Paid, received, 0, 0, "", 0, null, "USD"), "USD", 2, credited, sending,
            rows));

    [Fact]
    public void What_arrived_counts_once()
    {
        Decide(20, 0, 0).ShouldBe(new CreditPayment.Plan(20, null, null, 20));
        Decide(20, 20, 0, new CreditRow(1, 20, false)).ShouldBe(new CreditPayment.Plan(20, null, null, 0));
        Decide(20, 20, 5, new CreditRow(1, 20, false)).ShouldBe(new CreditPayment.Plan(15, 1, null, 15));
    }

    /// <summary>
    /// An operator has sent it back by hand and invalidated it; then more arrives, or some is sent back.
    /// </summary>
    [Fact]
    public void What_was_taken_back_by_hand_is_not_credited_again()
    {
        Decide(25, 20, 0, new CreditRow(1, 20, true)).ShouldBe(new CreditPayment.Plan(25, null, null, 5));
        Decide(20, 20, 5, new CreditRow(1, 20, true)).ShouldBe(new CreditPayment.Plan(20, null, null, 0));
        // Taken back: 10. Counts: 5. Another 5 arrives.
        Decide(20, 15, 0, new CreditRow(2, 5, false), new CreditRow(1, 10, true))
            .ShouldBe(new CreditPayment.Plan(20, 2, 1, 0));
        // A closed account: 15 of 20 were paid by hand, and now 3 go back at the provider.
        Decide(17, 20, 0, new CreditRow(2, 5, false), new CreditRow(1, 20, true))
            .ShouldBe(new CreditPayment.Plan(17, 2, null, 2));
        // More goes back at the provider than was left here, and then that fails.
        Decide(7, 20, 0, new CreditRow(2, 5, false)).ShouldBe(new CreditPayment.Plan(15, 2, null, 0));
        Decide(17, 15, 0, new CreditRow(2, 5, true)).ShouldBe(new CreditPayment.Plan(17, null, null, 2));
    }

    /// <summary>An operator has validated what the provider has not: it does not count twice when it has.</summary>
    [Fact]
    public void What_was_validated_by_hand_counts_once()
    {
        Decide(0, 0, 0, new CreditRow(1, 20, false)).ShouldBe(new CreditPayment.Plan(0, null, null, 0));
        Decide(20, 0, 0, new CreditRow(1, 20, false)).ShouldBe(new CreditPayment.Plan(20, null, null, 0));
        Decide(25, 0, 0, new CreditRow(1, 20, false)).ShouldBe(new CreditPayment.Plan(25, 1, null, 25));
    }

    public static TheoryData<int> Seeds() => new(Enumerable.Range(1, 50));

    /// <summary>
    /// Money arrives, goes back, is disputed, and operators invalidate and validate rows: what counts is what the
    /// provider has less what was taken back by hand, whatever came before.
    /// </summary>
    [Theory, MemberData(nameof(Seeds))]
    public void What_counts_is_what_is_there_less_what_was_taken_back(int seed)
    {
        var random = new Random(seed);
        var rows = new List<CreditRow>();
        var (received, refunded, sending, disputed, credited, taken) = (0m, 0m, 0m, false, 0m, 0m);
        for (var step = 0; step < 200; step++)
        {
            var counted = rows.FindIndex(r => !r.Invalidated);
            switch (random.Next(7))
            {
                case 0 or 1:
                    received += random.Next(1, 8);
                    break;
                case 2 when received - refunded - sending >= 1:
                    refunded++;
                    break;
                case 3:
                    // A refund of ours begins, or the provider has it, or refuses it.
                    if (sending > 0 && random.Next(2) == 0) refunded += sending;
                    sending = sending > 0 ? 0 : Math.Min(3, received - refunded);
                    break;
                case 4:
                    disputed = !disputed;
                    break;
                case 5 when counted >= 0:
                    taken += rows[counted].Dollars;
                    rows[counted] = rows[counted] with { Invalidated = true };
                    break;
                case 6 when counted < 0 && rows.FindIndex(r => r.Dollars <= taken) is >= 0 and var again:
                    taken -= rows[again].Dollars;
                    rows[again] = rows[again] with { Invalidated = false };
                    break;
            }
            var state = new PaymentState(PaymentStatus.Paid, received, refunded,
                disputed ? received - refunded : 0, disputed ? "open" : "", 0, null, "USD");
            var plan = CreditPayment.Decide(new CreditPayment.Facts(state, "USD", 2, credited, sending, rows));
            Apply(rows, plan);
            credited = plan.Credited;
            var worth = disputed ? 0 : Math.Max(0, received - refunded - sending);
            rows.Where(r => !r.Invalidated).Sum(r => r.Dollars).ShouldBe(
                Math.Max(0, worth - taken), $"step {step}: worth {worth}, taken back {taken}");
            rows.Count(r => !r.Invalidated).ShouldBeLessThanOrEqualTo(1);
        }
    }

    static void Apply(List<CreditRow> rows, CreditPayment.Plan plan)
    {
        void Turn(int? id, bool invalidated)
        {
            if (rows.FindIndex(r => r.Id == id) is >= 0 and var at)
                rows[at] = rows[at] with { Invalidated = invalidated };
        }

        Turn(plan.Invalidate, invalidated: true);
        Turn(plan.Validate, invalidated: false);
        if (plan.Added > 0) rows.Insert(0, new CreditRow(rows.Count + 1, plan.Added, false));
    }

    [Theory]
    [InlineData("USD", 1000)]
    [InlineData("JPY", 10)]
    [InlineData("KWD", 10_000)]
    public void An_amount_is_in_the_smallest_units_of_its_currency(string currency, long units) =>
        StripeAmounts.ToUnits(10, currency).ShouldBe(units);

    [Fact]
    public void Two_transfers_with_the_same_reference_are_two()
    {
        var csv = "date,amount,payer,reference\n2026-03-01,5.00,Jo,STANDING\n2026-04-01,5.00,Jo,STANDING\n"u8.ToArray();
        var read = BankFile.Read(csv);
        read.Value!.Identified().Select(e => e.Id).Distinct(StringComparer.Ordinal).Count().ShouldBe(2);
        read.Value.Entries[0].Message.ShouldBe("STANDING", "a code in it is found");
    }
}
