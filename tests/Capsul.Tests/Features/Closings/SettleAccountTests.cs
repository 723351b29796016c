using System.Globalization;
using Capsul.Hub.Features.Closings;

namespace Capsul.Tests.Features.Closings;

public sealed class SettleAccountTests
{
    /// <summary>Payments as "method amount", and what a provider could send back after a slash.</summary>
    static IReadOnlyList<SettlePaymentRow> Payments(string text) => [.. text.Split(", ",
        StringSplitOptions.RemoveEmptyEntries).Select((part, n) =>
        {
            var words = part.Split(' ', '/');
            return new SettlePaymentRow(n + 1, D(words[1]), words[0], words.Length > 2 ? n + 1 : null,
                words.Length > 2 ? D(words[2]) : 0);
        })];

    static decimal D(string text) => decimal.Parse(text, CultureInfo.InvariantCulture);

    [Theory]
    // The newest first, by the way it came.
    [InlineData("17.66", "back", "stripe 20/20, cash 10", "1:17.66 provider", "0", "0", "0")]
    [InlineData("25", "back", "stripe 20/20, cash 10", "1:20 provider, 2:5", "0", "0", "0")]
    // What the provider has no more, or cannot send, is paid by hand.
    [InlineData("15", "back", "stripe 20/10, btcpay 5/0", "1:15", "0", "0", "0")]
    [InlineData("15", "hand", "stripe 20/20", "1:15", "0", "0", "0")]
    // A voucher counts as used first, and what is left of it lapses; so do gifts.
    [InlineData("12", "back", "voucher 10, cash 5", "2:5", "0", "7", "0")]
    [InlineData("5", "back", "voucher 10, cash 5", "2:5", "0", "0", "0")]
    [InlineData("12", "back", "solidarity 10, voucher 4, cash 3", "3:3", "5", "4", "0")]
    [InlineData("12", "fund", "voucher 10, cash 5", "", "5", "7", "0")]
    // Who gave their own money to the fund does not have a voucher, or what came from the fund, paid back instead.
    [InlineData("10", "back", "solidarity -10, voucher 10, cash 10", "", "0", "10", "0")]
    [InlineData("8", "back", "solidarity -10, solidarity 5, cash 15", "3:5", "3", "0", "0")]
    [InlineData("4", "back", "solidarity -5, cash 10, voucher 2", "2:4", "0", "0", "0")]
    // Trial credit counts as used first of all, and is neither paid out nor given.
    [InlineData("13", "back", "trial 5, cash 10", "2:10", "0", "3", "0")]
    [InlineData("5", "fund", "solidarity -10, cash 10, trial 5", "", "0", "5", "0")]
    [InlineData("4", "back", "trial -3, trial 5, cash 4", "3:4", "0", "0", "0")]
    [InlineData("9", "back", "voucher 4, trial 5, cash 5", "3:5", "0", "4", "0")]
    [InlineData("-3.5", "back", "cash 5", "", "0", "0", "3.5")]
    [InlineData("0", "fund", "cash 5", "", "0", "0", "0")]
    public void All_that_is_left_goes_somewhere(
        string left, string money, string payments, string back, string given, string lapsed, string writtenOff)
    {
        var plan = SettleAccount.Decide(new SettleAccount.Facts(D(left), money, Payments(payments)));
        string.Join(", ", plan.Back.Select(p => string.Create(CultureInfo.InvariantCulture,
            $"{p.Payment.Id}:{p.Amount}{(p.ByProvider ? " provider" : "")}"))).ShouldBe(back);
        (plan.Given, plan.Lapsed + plan.Trial, plan.WrittenOff).ShouldBe((D(given), D(lapsed), D(writtenOff)));
        (plan.Back.Sum(p => p.Amount) + plan.Given + plan.Lapsed + plan.Trial - plan.WrittenOff).ShouldBe(D(left));
    }

    [Theory]
    [InlineData("jo@example.org", "back", "", null)]
    [InlineData(" JO@example.org ", "fund", "IBAN 1", null)]
    [InlineData("jo@example.com", "back", "", "Typed")]
    [InlineData("jo@example.org", "mine", "", "Money")]
    [InlineData("jo@example.org", "back", "long", "PayTo")]
    public void What_a_person_types_is_checked(string typed, string money, string payTo, string? field)
    {
        var input = new CloseAccount.Input(typed, money, payTo == "long" ? new string('x', 301) : payTo, null);
        CloseAccount.Decide(new CloseAccount.Facts("jo@example.org", true, false, false, 0), input)
            .Problem?.Field.ShouldBe(field);
    }

    [Fact]
    public void The_last_operator_stays()
    {
        var input = new CloseAccount.Input("jo@example.org", "back", null, null);
        var facts = new CloseAccount.Facts("jo@example.org", true, false, IsOperator: true, OtherOperators: 0);
        CloseAccount.Decide(facts, input).Problem!.Message.ShouldContain("only operator");
        CloseAccount.Decide(facts with { OtherOperators = 1 }, input).Problem.ShouldBeNull();
    }
}
