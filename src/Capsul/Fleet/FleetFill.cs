using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres;
using Capsul.Spoke.Images;
using Npgsql;

namespace Capsul.Fleet;

/// <summary>Writes the Hub's side of a fleet.</summary>
public sealed class FleetFill(Db db, FleetPlan plan, Image image, string sshHost, TimeProvider time)
{
    /// <summary>So many VMs in one transaction.</summary>
    const int BatchVms = 5000;

    static readonly TimeSpan Age = TimeSpan.FromHours(1), BootTime = TimeSpan.FromMinutes(1),
        Silence = TimeSpan.FromMinutes(1);

    /// <summary>The lines of a create that went well; the host's name is appended to the first.</summary>
    static readonly (string Step, string Message)[] Lines =
    [
        (CreateVmOperation.Start, "Scheduled on host "), ("phase", "Disk created"), ("phase", "VM configured"),
        ("phase", "Started"), ("phase", "Booting"), ("phase", "SSH answers"), ("phase", "Host key verified"),
        (CreateVmOperation.Boot, "Running"),
    ];

    readonly DateTime now = time.GetUtcNow().UtcDateTime;

    DateTime Created => now - Age;
    DateTime Ran => Created + BootTime;
    DateTime Seen => now - Silence;

    /// <exception cref="ProblemException">Conflict: it holds something else.</exception>
    public static async Task CheckEmptyAsync(Db db, CancellationToken cancel)
    {
        if (!await db.AskAsync<bool>(FleetSql.IsEmpty, null, cancel))
            throw new ProblemException(ProblemKind.Conflict,
                "This Hub already has accounts, hosts or VMs. A fleet fills an empty one only; nothing was changed.");
    }

    /// <summary>The hosts have joined; adds everything else.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        await AddAccountsAsync(cancel);
        var hosts = Math.Max(1, BatchVms / Math.Max(1, plan.VmsPerSpoke));
        foreach (var spokes in Enumerable.Range(0, plan.Spokes).Chunk(hosts))
            await db.InTransactionAsync(transaction => AddVmsAsync(transaction, spokes, cancel), cancel);
    }

    Task AddAccountsAsync(CancellationToken cancel) => db.InTransactionAsync(async transaction =>
    {
        var emails = plan.Accounts.ToArray();
        var keys = emails.Select(FleetPlan.KeyOf).ToList();
        await transaction.ExecuteAsync(FleetSql.AddImage,
            new { id = image.Id, image.Title, image.LoginUser, image.MinDiskGb, image.MinMemoryMb }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddAccounts, new { emails, created = Created }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddPayments, new { emails, created = Created }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddKeys, new
        {
            emails,
            keys = keys.Select(k => k.Key).ToArray(),
            fingerprints = keys.Select(k => k.Fingerprint).ToArray(),
            name = FleetPlan.KeyName,
            created = Created,
        }, cancel);
    }, cancel);

    async Task AddVmsAsync(NpgsqlTransaction transaction, int[] spokes, CancellationToken cancel)
    {
        var hosts = spokes.Select(FleetPlan.HostName).ToArray();
        var vms = spokes.SelectMany(plan.VmsOf).ToList();
        var ids = vms.Select(v => v.Id).ToArray();
        await transaction.ExecuteAsync(FleetSql.AddVms, new
        {
            ids,
            emails = vms.Select(v => v.Email).ToArray(),
            names = vms.Select(v => v.Name).ToArray(),
            hosts = vms.Select(v => v.Host).ToArray(),
            generations = vms.Select(v => v.Generation).ToArray(),
            ports = vms.Select(v => v.Port).ToArray(),
            sha256 = image.Sha256,
            size = FleetPlan.SizeId,
            image = image.Id,
            sshHost,
            created = Created,
            seen = Seen,
        }, cancel);
        await AddAddressesAsync(transaction, hosts, vms, cancel);
        await transaction.ExecuteAsync(FleetSql.AddVmKeys, new { ids }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddHostKeys, new
        {
            ids,
            keys = vms.Select(v => v.HostKey.Key).ToArray(),
            fingerprints = vms.Select(v => v.HostKey.Fingerprint).ToArray(),
        }, cancel);
        await AddPastAsync(transaction, ids, cancel);
        await transaction.ExecuteAsync(
            FleetSql.SetGenerations, new { hosts, generation = (long)plan.VmsPerSpoke }, cancel);
    }

    async Task AddAddressesAsync(
        NpgsqlTransaction transaction, string[] hosts, List<FleetVm> vms, CancellationToken cancel)
    {
        var addresses = plan.Addresses;
        await transaction.ExecuteAsync(FleetSql.AddAddresses, new
        {
            hosts,
            addresses = addresses.Select(a => a.ToString()).ToArray(),
            macs = addresses.Select(Ipv4.Mac).ToArray(),
        }, cancel);
        await transaction.ExecuteAsync(FleetSql.TakeAddresses, new
        {
            ids = vms.Select(v => v.Id).ToArray(),
            hosts = vms.Select(v => v.Host).ToArray(),
            addresses = vms.Select(v => v.Address.ToString()).ToArray(),
        }, cancel);
    }

    async Task AddPastAsync(NpgsqlTransaction transaction, string[] ids, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(FleetSql.AddOperations, new
        {
            ids,
            kind = CreateVm.OperationName,
            step = CreateVmOperation.Boot,
            ran = Ran,
            steps = Lines.Select(l => l.Step).ToArray(),
            messages = Lines.Select(l => l.Message).ToArray(),
        }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddUsage, new { ids, ran = Ran, seen = Seen }, cancel);
        await transaction.ExecuteAsync(FleetSql.AddAudit, new { ids, kind = CreateVm.OperationName }, cancel);
    }
}
