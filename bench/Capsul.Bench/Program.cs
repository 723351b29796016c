using System.Globalization;
using Capsul.Bench;
using Capsul.Fleet;
using Capsul.Foundation;

// One program; each bench runs its baseline in the same run and prints ratios. Its figures and the verdict are the last
// line; --check exits with 1 when a bar was missed.
var check = args.Contains("--check", StringComparer.Ordinal);
try
{
    switch (args.FirstOrDefault(a => !a.StartsWith('-')))
    {
        case "create":
            return await CreateBench.RunAsync(check, CancellationToken.None);
        case "start":
            return await StartBench.RunAsync(check, CancellationToken.None);
        case "sql":
            return await SqlBench.RunAsync(check, CancellationToken.None);
        case "migrate":
            return await MigrateBench.RunAsync(check, CancellationToken.None);
        case "cli":
            return await CliBench.RunAsync(check, CancellationToken.None);
        case "backup":
            return await BackupBench.RunAsync(check, CancellationToken.None);
        case "fleet":
            return await FleetBench.RunAsync(
                check, new FleetPlan(Number("--spokes", 1000), Number("--vms", 50)), CancellationToken.None);
        case "pages":
            return await PagesBench.RunAsync(check, CancellationToken.None);
        case BarePages.Handler:
            return await BarePages.ServeHandlerAsync(int.Parse(args[1], CultureInfo.InvariantCulture));
        case BarePages.Razor:
            return await BarePages.ServeRazorAsync(int.Parse(args[1], CultureInfo.InvariantCulture));
        case "console":
            return await ConsoleBench.RunAsync(check, CancellationToken.None);
        case "events":
            return await EventsBench.RunAsync(check, CancellationToken.None);
        case "failover":
            return await FailoverBench.RunAsync(check,
                new FailoverPlan(Number("--kills", 20), Number("--freezes", 5), Number("--cuts", 5)),
                CancellationToken.None);
        case "ledger":
            return await LedgerBench.RunAsync(check, CancellationToken.None);
        case "metering":
            return await MeteringBench.RunAsync(check, CancellationToken.None);
        case "payments":
            return await PaymentsBench.RunAsync(
                check, Number("--events", 100_000), Number("--kills", 20), CancellationToken.None);
        case "network":
            return await NetworkBench.RunAsync(check, CancellationToken.None);
        case "spend":
            return await SpendBench.RunAsync(check, CancellationToken.None);
        case "operations":
            return await OperationsBench.RunAsync(check, CancellationToken.None);
    }
}
catch (ProblemException error)
{
    await Console.Error.WriteLineAsync($"capsul bench: {error.Problem.Message}");
    return error.Problem.ExitCode;
}
await Console.Error.WriteLineAsync("""
    usage: capsul bench NAME [--check]
      create   from the form to the SSH login, against a bare QEMU; and what the Hub itself takes
      start    from the start of the program to its first page, against PostgreSQL alone
      migrate  nothing to do with 5,000 scripts, against DbUp; 500 scripts applied, against one psql
      sql      a million rows to a file, against psql; and ten million, for the memory
      cli      select 1 as a whole process, against psql; and --help
      backup   a gigabyte with its proof, against pg_dump, gzip and psql
      fleet [--spokes N] [--vms N]   a Hub with 1,000 Spokes of 50 VMs each: its cost, its answers, its restart
      pages    the console at concurrency 16, against a bare page with one query; a large old account against a new one
      console  the echo of a key from a serial console, against a bare WebSocket; two hundred open consoles
      events   a thousand open event streams while a hundred VMs a second change
      ledger   postings, each its own commit, against bare pgbench; and in batches, against COPY
      metering   an hour of 50,000 VMs; the balance page and the check of a create after ten years, against a new one's
      payments [--events N] [--kills N]   events of a provider, repeated, lost and shuffled, while the Hub is killed:
               no balance may differ from the provider's list
      network  what a VM sends to the outside in each mode, against a bare QEMU with the same back end; the rules of the
               500th VM of a host, against those of the first
      spend    64 workers create on one account that can pay for ten VMs: never more than ten are made
      operations   steps of the engine, against a bare loop with SKIP LOCKED
      failover [--kills N] [--freezes N] [--cuts N]   two Hubs, of which the active one is killed, frozen or cut off
               under load; then the database is frozen and killed
    """);
return 64;

int Number(string option, int otherwise) => Array.IndexOf(args, option) is >= 0 and var at && at + 1 < args.Length
    && int.TryParse(args[at + 1], CultureInfo.InvariantCulture, out var number) ? number : otherwise;
