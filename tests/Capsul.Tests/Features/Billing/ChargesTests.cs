using Capsul.Hub.Features.Billing;

namespace Capsul.Tests.Features.Billing;

/// <summary>
/// What is posted, hour by hour, is what has been used, whatever happened in between. The comparison knows nothing of
/// the program: it sums up all spans of the account in whole numbers at the end.
/// </summary>
public sealed class ChargesTests
{
    const int Histories = 10_000, Events = 60;

    /// <summary>30.44 days in microseconds: what a cent is in cents a month times microseconds.</summary>
    const long Month = 2_630_016_000_000;

    /// <summary>Microseconds; cents a month.</summary>
    sealed record Span(long From, long? To, int Cents);

    [Fact]
    public void Ten_thousand_random_histories_come_to_the_cent_of_a_naive_sum()
    {
        for (var seed = 0; seed < Histories; seed++) new History(seed).Run();
    }

    [Theory]
    [InlineData("0", 2, "0"), InlineData("26300.15999999", 2, "0"), InlineData("26300.16", 2, "0.01")]
    [InlineData("2630016", 0, "1"), InlineData("2630015.99999999", 0, "0"), InlineData("2630015.99999999", 1, "0.9")]
    public void Rounds_down_to_whole_units(string used, int decimals, string whole) =>
        Charges.Whole(decimal.Parse(used), decimals).ShouldBe(decimal.Parse(whole));

    [Fact]
    public void A_division_that_would_round_up_does_not()
    {
        // As near below a whole number of cents as a usage can be, for a sum that nobody will reach.
        var used = 2_630_016m * 9_999_999_999m - 0.00000001m;
        Charges.Whole(used, 2).ShouldBe(9_999_999_998.99m);
    }

    /// <summary>One account: its spans, its clock, and what has been posted.</summary>
    sealed class History(int seed)
    {
        const long Second = 1_000_000, Hour = 3600 * Second;

        readonly Random random = new(seed);
        readonly List<Span> spans = [];
        readonly List<(long Hour, decimal Amount)> posted = [];
        long now = 1_000 * Hour, until = 1_000 * Hour;
        decimal charged;

        public void Run()
        {
            for (var n = 0; n < Events; n++)
            {
                // A clock that jumps, also backward, and a Hub that is away for up to ten days.
                now += random.Next(20) switch
                {
                    0 => -random.NextInt64(2 * Hour),
                    1 => random.NextInt64(240 * Hour),
                    _ => random.NextInt64(90 * 60 * Second),
                };
                Change();
                if (random.Next(3) == 0) Meter(killed: random.Next(4) == 0);
            }
            now = Math.Max(now, until) + Hour;
            Meter(killed: false);
            charged.ShouldBe(Naive(until), $"seed {seed}");
            Ranges();
        }

        /// <summary>A month is what a single posting for all of it would have been, give or take no cent.</summary>
        void Ranges()
        {
            posted.Sum(p => p.Amount).ShouldBe(charged);
            posted.ShouldAllBe(p => p.Amount == decimal.Round(p.Amount, 2));
        }

        void Change()
        {
            var open = spans.FindIndex(s => s.To is null);
            switch (random.Next(6))
            {
                case 0 or 1 when open < 0:
                    spans.Add(new Span(Math.Max(now, spans.Max(s => s.To) ?? 0), null, random.Next(2_000)));
                    break;
                case 2 when open >= 0:
                    // Now, or late: when the host was last heard from.
                    Close(open, now - (random.Next(2) == 0 ? 0 : random.NextInt64(3 * Hour)));
                    break;
                case 3 when open >= 0:
                    // Another price from now on.
                    Close(open, now);
                    spans.Add(new Span(Math.Max(now, spans.Max(s => s.To) ?? 0), null, random.Next(2_000)));
                    break;
                case 4 when spans.Count > 0 && random.Next(4) == 0:
                    Correct(random.Next(spans.Count));
                    break;
            }
        }

        void Close(int index, long at)
        {
            if (at <= spans[index].From) spans.RemoveAt(index);
            else spans[index] = spans[index] with { To = at };
        }

        /// <summary>An operator corrects an old span.</summary>
        void Correct(int index)
        {
            var span = spans[index];
            if (random.Next(3) == 0) spans.RemoveAt(index);
            else if (random.Next(2) == 0) spans[index] = span with { Cents = random.Next(2_000) };
            else if (span.To is { } to)
                spans[index] = span with { To = span.From + 1 + random.NextInt64(to - span.From) };
        }

        /// <summary>As <c>Metering</c>: every hour that has ended, each in a transaction.</summary>
        /// <param name="killed">Before one of them is committed.</param>
        void Meter(bool killed)
        {
            for (var hour = until + Hour; hour <= now; hour += Hour)
            {
                var posting = Charges.Decide(new Charges.Facts(charged, Used(hour - Hour), Used(hour)), 2);
                if (killed && random.Next(5) == 0) return;
                posting.Usage.ShouldBeGreaterThanOrEqualTo(0);
                posting.Correction.ShouldBe(Naive(hour - Hour) - charged);
                charged += posting.Correction + posting.Usage;
                posted.Add((hour, posting.Correction + posting.Usage));
                until = hour;
                var exact = Used(hour) / Charges.SecondsPerMonth;
                (exact - charged).ShouldBeInRange(0, 0.01m - 1e-20m, $"seed {seed}");
            }
        }

        /// <summary>As the database adds it up: dollars a month times seconds.</summary>
        decimal Used(long at) => (decimal)Sum(at) / (100 * Second);

        decimal Naive(long at) => (decimal)(Sum(at) / Month) / 100;

        /// <summary>Cents a month times microseconds.</summary>
        Int128 Sum(long at)
        {
            var sum = Int128.Zero;
            foreach (var s in spans) sum += (Int128)s.Cents * Math.Max(0, Math.Min(s.To ?? at, at) - s.From);
            return sum;
        }
    }
}
