using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Stripe;
using Capsul.Hub.Web;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>
/// The whole way in currencies with other smallest units: without decimal places, and with three, which are kept with
/// two. Each is a program of its own, because an installation has one currency.
/// </summary>
public sealed class CurrencyTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment(TestDatabase database, string currency) => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("currency"),
        ["CAPSUL_DATABASE"] = database.ConnectionString,
        ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        ["CAPSUL_HUB_USER"] = CapsulProgram.HubUser,
        ["CAPSUL_CURRENCY"] = currency,
        ["CAPSUL_PUBLIC_LEDGER"] = "on",
        ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
    };

    /// <summary>Paid by a provider, as the active Hub writes it.</summary>
    const string PaidSql = """
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, reference, charge, status,
            received, credited)
        VALUES ('stripe', 'jo@example.org', @amount, 'k', now(), '', 'cs_1', 'pi_1', 'paid', @amount, @amount);
        INSERT INTO payments (email, dollars, method, provider_payment)
        SELECT email, amount, 'stripe', id FROM provider_payments;
        """;

    [Theory]
    [InlineData("JPY ¥ 0", "1500", "¥1,500", "1500", "500", "10.5", "Enter a whole amount.")]
    [InlineData("KWD KD 2", "12.34", "KD12.34", "12.34", "5.01", "10.505", "An amount has at most two decimal places.")]
    public async Task Everything_that_is_printed_has_the_decimal_places_of_the_currency(
        string currency, string amount, string shown, string plain, string part, string tooFine, string refused)
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = Environment(database, currency);
        (await RunAsync("payment", "record", "jo@example.org", amount)).ShouldContain($"{shown} for jo@example.org");
        (await RunAsync("payment", "record", "jo@example.org", tooFine)).ShouldContain(refused);
        (await RunAsync("limit", "set", "--paid", amount, "--max-vms", "3")).ShouldContain($"have paid {plain} may");
        (await RunAsync("size", "add", "fine", "--price", tooFine, "--cpus", "1", "--memory", "512", "--disk", "10"))
            .ShouldContain(currency.EndsWith('0') ? "whole amount" : "decimal places");
        (await RunAsync("size", "add", "whole", "--price", amount, "--cpus", "1", "--memory", "512", "--disk", "10"))
            .ShouldContain("whole is now on sale.");
        (await RunAsync("size", "list")).ShouldContain(shown);
        await database.Db.ExecuteAsync(PaidSql,
            new { amount = decimal.Parse(amount, System.Globalization.CultureInfo.InvariantCulture) }, Cancel);
        (await RunAsync("payment", "refund", "1", "--amount", tooFine, "--reason", "x")).ShouldContain(refused);
        (await RunAsync("payment", "refund", "1", "--amount", part, "--reason", "x"))
            .ShouldContain($"{part} of payment 1 is being sent back.");
        (await RunAsync("payment", "refund", "1", "--amount", amount, "--reason", "x")).ShouldContain("At most ");
        (await RunAsync("ledger", "show", "jo@example.org")).ShouldContain($" {plain} ");
        (await RunAsync("ledger", "verify")).ShouldContain("all is right");
        if (currency.EndsWith('0'))
            (await RunAsync("ledger", "show") + await RunAsync("payment", "refunds", "1")
                + await RunAsync("payment", "list")).ShouldNotContain(".00");

        await using var hub = CapsulProgram.Start(environment, "up", "--hub");
        await hub.AwaitSaidAsync("Capsul is running at", Limit);
        using var visitor = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{environment["CAPSUL_PORT"]}/") };
        await Until.TrueAsync("the ledger is verified", Limit, async () =>
            (await visitor.GetStringAsync("/ledger", Cancel)).Contains("Everything adds up", StringComparison.Ordinal));
        Visitor.Plain(await visitor.GetStringAsync("/", Cancel)).ShouldContain(shown);

        async Task<string> RunAsync(params string[] arguments)
        {
            var result = await CapsulProgram.RunAsync(environment, Cancel, arguments);
            return result.Output + result.Error;
        }
    }

    /// <summary>Stripe takes multiples of ten of the smallest unit of these only: hundredths are.</summary>
    [Theory]
    [InlineData("BHD"), InlineData("JOD"), InlineData("KWD"), InlineData("OMR"), InlineData("TND")]
    public void A_currency_with_three_decimal_places_is_kept_with_two(string code)
    {
        foreach (var amount in (decimal[])[0.01m, 5, 12.34m, 999_999.99m])
        {
            var units = StripeAmounts.ToUnits(amount, code)!.Value;
            (units % 10).ShouldBe(0, $"{amount}");
            StripeAmounts.FromUnits(units, code).ShouldBe(amount);
        }
        var settings = new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" };
        settings["CAPSUL_CURRENCY"] = $"{code} K 3";
        Should.Throw<ProblemException>(() => Settings.Load(settings)).Message.ShouldContain("CAPSUL_CURRENCY");
        settings["CAPSUL_CURRENCY"] = $"{code} K 2";
        Settings.Load(settings).Currency.Decimals.ShouldBe(2);
    }

    [Theory]
    [InlineData(0, "Enter a whole amount."), InlineData(1, "An amount has at most 1 decimal place.")]
    [InlineData(2, "An amount has at most two decimal places.")]
    public void A_refusal_speaks_of_the_decimal_places_of_the_currency(int decimals, string says) =>
        Show.TooFine(decimals).ShouldBe(says);
}
