using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sizes;

/// <summary>
/// An operator adds a size with its first price, takes one off sale, or offers it again. What a size consists of is
/// never changed: VMs have it.
/// </summary>
public static partial class ChangeSizes
{
    const int MostCpus = 256, LeastMemoryMb = 64, MostMemoryMb = 4 << 20, MostDiskGb = 64 << 10;

    /// <summary>As typed.</summary>
    /// <param name="Dollars">A month, with a point.</param>
    /// <param name="Memory">MiB.</param>
    /// <param name="Disk">GiB.</param>
    public sealed record Input(string? Name, string? Dollars, string? Cpus, string? Memory, string? Disk);

    public sealed record Plan(string Id, decimal Dollars, int Vcpus, int MemoryMb, int DiskGb);

    public static Outcome<Plan> Decide(Input input, int decimals)
    {
        var id = (input.Name ?? "").Trim();
        if (!Name().IsMatch(id))
            return Wrong("Name", "A name is 1 to 32 lower-case letters, digits and hyphens, such as f2-s.");
        if (id == Prices.FurtherAddress)
            return Wrong("Name", $"{id} is what the price of further addresses is called. Choose another name.");
        if (SetPrice.Read(new SetPrice.Input(id, input.Dollars, null), decimals, default)
            .Refused(out var problem, out var price))
            return problem;
        if (Number(input.Cpus, 1, MostCpus) is not { } cpus)
            return Wrong("Cpus", $"Enter a number of CPUs from 1 to {MostCpus}.");
        if (Number(input.Memory, LeastMemoryMb, MostMemoryMb) is not { } memory)
            return Wrong("Memory", $"Enter a number of MiB from {LeastMemoryMb} to {MostMemoryMb}.");
        return Number(input.Disk, 1, MostDiskGb) is { } disk
            ? new Plan(id, price.Dollars, cpus, memory, disk)
            : Wrong("Disk", $"Enter a number of GiB from 1 to {MostDiskGb}.");
    }

    static int? Number(string? text, int least, int most) =>
        int.TryParse(text?.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number >= least && number <= most ? number : null;

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <returns>Its name.</returns>
    public static Task<Outcome<string>> AddAsync(
        Db db, string actor, Input input, Settings settings, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            if (Decide(input, settings.Currency.Decimals).Refused(out var problem, out var plan)) return problem;
            if (await transaction.ExecuteAsync(
                SizeSql.Add, new { plan.Id, plan.Dollars, plan.Vcpus, plan.MemoryMb, plan.DiskGb }, cancel) == 0)
                return new Problem(ProblemKind.Conflict, $"There is a size called {plan.Id} already.")
                {
                    Field = "Name",
                };
            await transaction.AuditAsync(actor, "add_size", plan.Id, string.Create(CultureInfo.InvariantCulture,
                $"{plan.Dollars} a month, {plan.Vcpus} CPUs, {plan.MemoryMb} MiB, {plan.DiskGb} GiB"), cancel);
            return plan.Id;
        }, cancel);

    /// <summary>It is no longer on sale, or is again; VMs that have it keep it.</summary>
    /// <returns>Its name.</returns>
    public static Task<Outcome<string>> RetireAsync(
        Db db, string actor, string? size, bool retired, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var id = (size ?? "").Trim();
            if (await transaction.ExecuteAsync(SizeSql.SetRetired, new { id, retired }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, retired ? $"No size {id} is on sale."
                    : $"No size {id} is retired.");
            await transaction.AuditAsync(actor, retired ? "retire_size" : "offer_size", id, "", cancel);
            return id;
        }, cancel);

    [GeneratedRegex(@"^[a-z0-9-]{1,32}\z", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Name();
}
