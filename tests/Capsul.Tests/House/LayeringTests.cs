using System.Reflection;
using System.Text.RegularExpressions;
using Capsul.Hub;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Postgres;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.House;

/// <summary>Allowed dependencies and maximum sizes.</summary>
public sealed partial class LayeringTests
{
    static IEnumerable<string> References(Type of) =>
        of.Assembly.GetReferencedAssemblies().Select((AssemblyName n) => n.Name!);

    [Fact]
    public void The_hub_does_not_depend_on_the_spoke() =>
        References(typeof(HubProgram)).ShouldNotContain("Capsul.Spoke");

    [Fact]
    public void The_database_tools_depend_only_on_the_foundation() =>
        References(typeof(Db)).Where(n => n.StartsWith("Capsul.", StringComparison.Ordinal))
            .ShouldBe(["Capsul.Foundation"]);

    /// <summary>Each part of the Hub, and the parts that it may use. <see cref="HubProgram"/> assembles them.</summary>
    static readonly Dictionary<string, string[]> MayUse = new(StringComparer.Ordinal)
    {
        ["Storage"] = [],
        ["Leadership"] = ["Storage"],
        ["Engine"] = ["Storage", "Leadership"],
        ["Web"] = ["Storage"],
        ["Features"] = ["Storage", "Leadership", "Engine", "Web"],
        ["Link"] = ["Storage", "Leadership", "Features"],
        ["Reconcilers"] = ["Storage", "Leadership", "Engine", "Features"],
    };

    [Fact]
    public void The_parts_of_the_hub_use_only_those_below_them()
    {
        var hub = Path.Combine(Golden.Root, "src", "Capsul.Hub");
        var uses = from file in Sources("cs").Concat(Sources("cshtml"))
                       .Where(f => f.StartsWith(hub, StringComparison.Ordinal))
                   let name = Path.GetRelativePath(hub, file)
                   let part = name.Split('/')[0]
                   where name.Contains('/', StringComparison.Ordinal)
                   from used in HubPart().Matches(File.ReadAllText(file))
                       .Select(m => m.Groups["part"].Value).Distinct(StringComparer.Ordinal)
                   where used != part && !MayUse[part].Contains(used, StringComparer.Ordinal)
                   orderby name, used
                   select $"{name} uses {used}";
        uses.ShouldBeEmpty();
    }

    /// <summary>
    /// Adding a payment provider is a folder and a line in the list of them: nothing else knows which there are.
    /// </summary>
    [Fact]
    public void Payment_providers_are_named_only_in_their_folders_and_in_the_list_of_them()
    {
        const string List = "src/Capsul.Hub/Features/Payments/Providers/PaymentProviders.cs";
        var names = PaymentProviders.Known.SelectMany(k => new[] { k.Name, k.Company.Split(' ')[0] }).ToArray();
        var folders = PaymentProviders.Known.Select(k => k.Make.Method.DeclaringType!.Namespace!.Split('.')[^1])
            .Select(folder => $"src/Capsul.Hub/Features/Payments/{folder}/").ToArray();
        (from file in Sources("cs").Concat(Sources("cshtml"))
         let name = Path.GetRelativePath(Golden.Root, file)
         where (name.StartsWith("src/Capsul.Hub/", StringComparison.Ordinal)
                 || name.StartsWith("src/Capsul/Cli/", StringComparison.Ordinal))
             && name != List && !folders.Any(f => name.StartsWith(f, StringComparison.Ordinal))
         let text = File.ReadAllText(file)
         where names.Any(n => text.Contains(n, StringComparison.OrdinalIgnoreCase))
         select name).ShouldBeEmpty();
    }

    [Fact]
    public void The_spoke_does_not_depend_on_the_hub_or_the_database()
    {
        References(typeof(IHypervisor)).ShouldNotContain("Capsul.Hub");
        References(typeof(IHypervisor)).ShouldNotContain("Npgsql");
    }

    [Fact]
    public void The_wire_depends_on_nothing() =>
        References(typeof(Protocol)).Where(n => n.StartsWith("Capsul.", StringComparison.Ordinal)).ShouldBeEmpty();

    static IEnumerable<string> Sources(string ending = "cs") => ((string[])["src", "tests", "bench"])
            .SelectMany(
                d => Directory.EnumerateFiles(Path.Combine(Golden.Root, d), $"*.{ending}", SearchOption.AllDirectories))
            .Where(f => !f.Contains("/obj/", StringComparison.Ordinal)
                && !f.Contains("/bin/", StringComparison.Ordinal));

    [Fact]
    public void No_file_is_longer_than_400_lines() =>
        Sources().Where(f => File.ReadLines(f).Count() > 400)
            .Select(f => Path.GetRelativePath(Golden.Root, f)).ShouldBeEmpty();

    [Fact]
    public void No_class_is_named_after_a_layer() =>
        Sources().SelectMany(f =>
            LayerName().Matches(File.ReadAllText(f)).Select(m => $"{Path.GetFileName(f)}: {m.Value}")).ShouldBeEmpty();

    [Fact]
    public void Programs_are_started_in_one_place_only() =>
        Sources().Where(
            f => f.Contains("/src/", StringComparison.Ordinal) && ProcessStart().IsMatch(File.ReadAllText(f)))
            .Select(f => Path.GetFileName(f)).ShouldBe(["Command.cs"]);

    [Fact]
    public void Log_messages_have_unique_ids()
    {
        var ids = Sources().Where(f => f.Contains("/src/", StringComparison.Ordinal))
            .SelectMany(f => LogId().Matches(File.ReadAllText(f)).Select(m => m.Groups["id"].Value)).ToList();
        ids.Count.ShouldBeGreaterThan(20);
        ids.GroupBy(i => i, StringComparer.Ordinal).Where(g => g.Count() > 1).Select(g => g.Key).ShouldBeEmpty();
    }

    [GeneratedRegex(@"\b(class|record|struct) \w*(Service|Manager|Helper|Helpers|Utils|Processor|Dto)\b",
        RegexOptions.None, 1000)]
    private static partial Regex LayerName();

    [GeneratedRegex(@"\bCapsul\.Hub\.(?<part>[A-Z]\w+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex HubPart();

    [GeneratedRegex(@"\bProcess\.Start\(|new Process\b", RegexOptions.None, 1000)]
    private static partial Regex ProcessStart();

    [GeneratedRegex(@"LoggerMessage\((EventId = )?(?<id>\d+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex LogId();
}
