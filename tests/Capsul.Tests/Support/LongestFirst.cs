using Capsul.Tests.Spoke.Hypervisor;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(Capsul.Tests.Support.LongestFirst))]

namespace Capsul.Tests.Support;

/// <summary>
/// The collections whose tests run one after another, and take longest, begin first: everything else runs beside them.
/// </summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    public IReadOnlyCollection<T> OrderTestCollections<T>(IReadOnlyCollection<T> testCollections)
        where T : ITestCollection =>
        [.. testCollections.OrderByDescending(c => IsLong(c.TestCollectionDisplayName))];

    static bool IsLong(string name) => name is nameof(RealHypervisor) or nameof(RealWorld);
}
