using System.Collections.Concurrent;
using System.Reflection;
using Xunit.v3;

[assembly: Capsul.Tests.Support.TestLimit]

namespace Capsul.Tests.Support;

/// <summary>
/// A time limit for every test. One that exceeds it is canceled, which ends every wait that observes its token; one
/// that ignores even that ends the whole run, with its name. A test that needs longer declares it:
/// <c>[Trait(TestLimitAttribute.Minutes, "25")]</c>.
/// </summary>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class TestLimitAttribute : BeforeAfterTestAttribute
{
    public const string Minutes = "LimitMinutes";

    static readonly TimeSpan Usual = TimeSpan.FromMinutes(10),
        Grace = TimeSpan.FromMinutes(2), Every = TimeSpan.FromSeconds(10);

    sealed record Run(string Name, ITestContext Context, DateTime CancelAt)
    {
        public bool Cancelled { get; set; }
    }

    static readonly ConcurrentDictionary<string, Run> Running = new(StringComparer.Ordinal);
    static readonly Timer Watch = new(_ => Look(), null, Every, Every);

    public override void Before(MethodInfo methodUnderTest, IXunitTest test)
    {
        GC.KeepAlive(Watch);
        var limit = test.Traits.TryGetValue(Minutes, out var minutes)
            ? TimeSpan.FromMinutes(int.Parse(minutes.First()))
            : Usual;
        Running[test.UniqueID] =
            new Run(test.TestDisplayName, TestContext.Current, TimeProvider.System.GetUtcNow().UtcDateTime + limit);
    }

    public override void After(MethodInfo methodUnderTest, IXunitTest test)
    {
        Running.TryRemove(test.UniqueID, out _);
    }

    static void Look()
    {
        var now = TimeProvider.System.GetUtcNow().UtcDateTime;
        foreach (var run in Running.Values.Where(r => now > r.CancelAt))
        {
            if (now > run.CancelAt + Grace)
            {
                Console.WriteLine(
                    $"HANGS: {run.Name} exceeded its time limit and did not end when canceled; the run ends here.");
                Console.Out.Flush();
                Environment.Exit(70);
            }
            if (run.Cancelled) continue;
            run.Cancelled = true;
            Console.WriteLine($"TIME LIMIT EXCEEDED: {run.Name}; canceling it.");
            run.Context.CancelCurrentTest();
        }
    }
}
