using Capsul.Bench;

// One program; each bench runs its baseline in the same run and prints ratios. --check exits with 1 under the bar and prints
// the figures as the last line.
var check = args.Contains("--check", StringComparer.Ordinal);
switch (args.FirstOrDefault(a => !a.StartsWith('-')))
{
    case "create":
        return await CreateBench.RunAsync(check, CancellationToken.None);
    case "start":
        return await StartBench.RunAsync(check, CancellationToken.None);
    case "migrate":
        return await MigrateBench.RunAsync(check, CancellationToken.None);
    default:
        await Console.Error.WriteLineAsync("usage: capsul bench NAME [--check]\n  create   from the form to the SSH login, against a bare QEMU; and what the Hub itself takes\n  start    from the start of the program to its first page, against PostgreSQL alone\n  migrate  nothing to do with 5,000 scripts, against DbUp; 500 scripts applied, against psql");
        return 64;
}
