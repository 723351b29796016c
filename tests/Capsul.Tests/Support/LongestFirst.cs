using Capsul.Tests.Browser;
using Capsul.Tests.Cli;
using Capsul.Tests.Docs;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Postgres.Backups;
using Capsul.Tests.Postgres.Migrations;
using Capsul.Tests.Spoke.Hypervisor;
using Capsul.Tests.World;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(Capsul.Tests.Support.LongestFirst))]

namespace Capsul.Tests.Support;

/// <summary>
/// What takes longest begins first, so that the run does not end with one of them alone: the collections whose tests
/// need real guests, then the longest classes; everything else runs beside them.
/// </summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    static readonly string[] Longest =
    [
        nameof(RealWorld), nameof(RealHypervisor), nameof(AccessibilityTests), nameof(KillTests), nameof(BackupTests),
        nameof(DatabasePageTests), nameof(BrowsingTests), nameof(HubUserTests), nameof(ChargesTests),
        nameof(SeededFaultsTests),
    ];

    public IReadOnlyCollection<T> OrderTestCollections<T>(IReadOnlyCollection<T> testCollections)
        where T : ITestCollection =>
        [.. testCollections.OrderBy(c => Rank(c.TestCollectionDisplayName))];

    /// <summary>A collection of one class has the full name of that in its own.</summary>
    static int Rank(string name)
    {
        var rank = Array.FindIndex(
            Longest, each => name == each || name.Contains($".{each}", StringComparison.Ordinal));
        return rank < 0 ? Longest.Length : rank;
    }
}
