using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Firewalls;

/// <summary>A change that somebody asks for.</summary>
public abstract record FirewallChange
{
    /// <summary>One of <see cref="FirewallState.Presets"/>, by its name: replaces everything.</summary>
    public sealed record Preset(string? Name) : FirewallChange;

    /// <summary>open or closed; the rules stay.</summary>
    public sealed record Policy(string? Name) : FirewallChange;

    public sealed record Allow(string? Protocol, string? Ports, string? Source) : FirewallChange;

    public sealed record Remove(string? Protocol, string? Ports, string? Source) : FirewallChange;
}

/// <summary>Changes what may reach a VM. Its Spoke applies it within moments, also while it runs.</summary>
public static class ChangeFirewall
{
    /// <summary>What it is afterwards.</summary>
    public static Outcome<FirewallState> Decide(VmRow? vm, FirewallState now, FirewallChange change)
    {
        if (vm is null or { Deleted: not null }) return VmAction.NotFound;
        if (vm.Wanted == "gone") return new Problem(ProblemKind.Conflict, "This capsul is being deleted.");
        switch (change)
        {
            case FirewallChange.Preset preset:
                return FirewallState.Presets.FirstOrDefault(p => p.Name == preset.Name).State is { } state ? state
                    : Wrong("Preset", "There is no such preset. Choose "
                        + $"{string.Join(", ", FirewallState.Presets.Select(p => p.Name))}.");
            case FirewallChange.Policy policy:
                return policy.Name is FirewallState.OpenPolicy or FirewallState.ClosedPolicy
                    ? now with { Policy = policy.Name } : Wrong("Policy", "The policy is open or closed.");
            case FirewallChange.Allow allow:
                return FirewallRule.Parse(allow.Protocol, allow.Ports, allow.Source)
                    .Refused(out var wrong, out var rule) ? wrong : Add(now, rule);
            case FirewallChange.Remove remove:
                if (FirewallRule.Parse(remove.Protocol, remove.Ports, remove.Source)
                    .Refused(out var unclear, out var gone)) return unclear;
                return now.Rules.Contains(gone) ? now with { Rules = [.. now.Rules.Where(r => r != gone)] }
                    : new Problem(ProblemKind.NotFound, $"There is no rule {gone}.");
            default:
                throw new InvalidOperationException(change.GetType().Name);
        }
    }

    static Outcome<FirewallState> Add(FirewallState now, FirewallRule rule) =>
        now.Rules.Contains(rule) ? now
        : now.Rules.Count >= Wire.Protocol.MaxFirewallRules ? new Problem(ProblemKind.Conflict,
            $"A capsul has at most {Wire.Protocol.MaxFirewallRules} rules. Remove some, or use ranges.")
        : now with { Rules = [.. now.Rules, rule] };

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>What it is now.</returns>
    public static Task<Outcome<FirewallState>> RunAsync(
        Db db, string actor, string? email, string id, FirewallChange change, CancellationToken cancel) =>
        db.DecideAsync<FirewallState>(async transaction =>
        {
            var vm = await (email is null
                ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
                : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
            var row = await transaction.FindAsync<FirewallRow>(FirewallSql.Find, new { id }, cancel);
            var before = row is null ? FirewallState.Default : FirewallState.Of(row);
            if (Decide(vm, before, change).Refused(out var problem, out var after)) return problem;
            if (after == before) return after;
            await transaction.ExecuteAsync(FirewallSql.DeleteRules, new { id }, cancel);
            await InsertAsync(transaction,
                new Dictionary<string, FirewallState>(StringComparer.Ordinal) { [id] = after }, cancel);
            await transaction.RenewAsync(vm!, cancel);
            await transaction.AuditAsync(actor, "change_firewall", id,
                string.Join(", ", after.Rules.Select(r => r.ToString()).Prepend(after.Policy)), cancel);
            return after;
        }, cancel);

    /// <summary>The firewalls of VMs that have none yet.</summary>
    public static async Task InsertAsync(
        NpgsqlTransaction transaction, IReadOnlyDictionary<string, FirewallState> firewalls, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(FirewallSql.Put, new
        {
            vms = firewalls.Keys.ToArray(),
            policies = firewalls.Values.Select(f => f.Policy).ToArray(),
        }, cancel);
        var rules = firewalls.SelectMany(f => f.Value.Rules.Select(r => (Vm: f.Key, Rule: r))).ToList();
        if (rules.Count == 0) return;
        await transaction.ExecuteAsync(FirewallSql.InsertRules, new
        {
            vms = rules.Select(r => r.Vm).ToArray(),
            protocols = rules.Select(r => r.Rule.Protocol).ToArray(),
            firsts = rules.Select(r => r.Rule.First).ToArray(),
            lasts = rules.Select(r => r.Rule.Last).ToArray(),
            sources = rules.Select(r => r.Rule.Source).ToArray(),
        }, cancel);
    }
}
