using System.CommandLine;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>Which verbs there are.</summary>
public static partial class CommandLine
{
    public static Task<int> RunAsync(string[] args) => RunAsync(MakeFor(args), args);

    static readonly (string Name, Func<Command> Make)[] Verbs =
    [
        ("up", UpVerb.Make), ("demo", DemoVerb.Make), ("doctor", DoctorVerb.Make), ("image", ImageVerb.Make),
        ("host", HostVerb.Make), ("pool", PoolVerb.Make), ("vm", VmVerb.Make), ("spoke", SpokeVerb.Make),
        ("size", SizeVerb.Make), ("price", PriceVerb.Make), ("payment", PaymentVerb.Make),
        ("voucher", VoucherVerb.Make),
        ("ledger", LedgerVerb.Make), ("receipt", ReceiptVerb.Make), ("dunning", DunningVerb.Make),
        ("account", AccountVerb.Make), ("limit", LimitVerb.Make), ("fund", FundVerb.Make),
        ("mail", MailVerb.Make), ("operation", OperationVerb.Make),
        ("hub", HubVerb.Make), ("fsck", FsckVerb.Make), ("db", DbVerb.Make), ("sql", SqlVerb.Make),
        ("fleet", FleetVerb.Make),
    ];

    /// <summary>All verbs; also what the golden help is written from.</summary>
    public static RootCommand Make() => Make(Verbs);

    /// <summary>Only the verb that the line begins with: the others would cost every call their time.</summary>
    static RootCommand MakeFor(string[] args)
    {
        // A loop and no LINQ: each generic method over a pair would be compiled at the start of each call.
        for (var i = 0; args.Length > 0 && i < Verbs.Length; i++)
        {
            if (Verbs[i].Name == args[0]) return Make(Verbs.AsSpan(i, 1));
        }
        return Make();
    }

    static RootCommand Make(ReadOnlySpan<(string Name, Func<Command> Make)> verbs)
    {
        var root = new RootCommand(Description);
        foreach (var (_, make) in verbs) root.Add(make());
        return root;
    }

    const string Description = """
        Capsul: a self-hosted cloud. People sign in with an emailed link, add credit to their account, and SSH into
        their own virtual machine.

        Examples:
          capsul demo                      a complete Capsul on this machine, with one VM to log in to
          capsul up                        Hub and Spoke, until Ctrl-C
          capsul up --hub                  the Hub alone
          capsul host invite rack1         prints a token for another machine to join with
          capsul spoke join TOKEN          ... on that machine
          capsul doctor                    checks this machine and suggests fixes
        """;
}
