using System.Collections.Concurrent;
using System.Reflection;
using Xunit.v3;

[assembly: Capsul.Tests.Support.TestLimit]

namespace Capsul.Tests.Support;

/// <summary>
/// A limit for every test. One that runs over it is cancelled, which ends every wait that watches its token; one that
/// does not even hear that ends the whole run, with its name. A test that needs longer says so:
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
                    $"HANGS: {run.Name} ran over its limit and did not end when it was cancelled; the run ends here.");
                Console.Out.Flush();
                Environment.Exit(70);
            }
            if (run.Cancelled) continue;
            run.Cancelled = true;
            Console.WriteLine($"OVER ITS LIMIT: {run.Name}; it is cancelled.");
            run.Context.CancelCurrentTest();
        }
    }
}
