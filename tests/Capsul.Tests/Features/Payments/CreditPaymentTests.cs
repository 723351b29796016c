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
        Decide(20, 20, 5, new CreditRow(1, 20, true)).ShouldBe(new CreditPayment.Plan(15, null, null, 0));
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
