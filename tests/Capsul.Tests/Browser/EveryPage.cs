namespace Capsul.Tests.Browser;

/// <summary>All pages, as the rules for all pages try them, with the data of <see cref="Support.Sample"/>.</summary>
static class EveryPage
{
    public static readonly (string Name, string Path)[] Public =
    [
        ("home", "/"), ("about-ssh", "/about-ssh"), ("support", "/support"), ("sign-in", "/sign-in"),
        ("sent", "/sign-in/sent"), ("bad-link", "/sign-in/unknown"), ("not-found", "/nowhere"),
        ("give", "/give/known"), ("no-give", "/give/unknown"),
    ];

    public static readonly (string Name, string Path)[] SignedIn =
    [
        ("home-signed-in", "/"), ("keys", "/keys"), ("remove-key", "/keys/1/remove"), ("balance", "/balance"),
        ("account", "/account"), ("sign-out", "/sign-out"),
        ("mails", "/development/mails"), ("console", "/console"), ("new-vm", "/vms/new"),
        ("running-vm", "/vms/capsul-running000"), ("stopped-vm", "/vms/capsul-stopped000"),
        ("creating-vm", "/vms/capsul-creating00"), ("failed-vm", "/vms/capsul-failed0000"),
        ("silent-vm", "/vms/capsul-silent0000"), ("searched", "/console?q=e&Sort=name"),
        ("again", "/vms/new?Size=f1-m&Name=x"), ("delete-vm", "/vms/capsul-running000/delete"),
        ("conflict", "/vms/capsul-creating00/delete"), ("operation", "/vms/capsul-creating00/operations/1"),
        ("queued-vm", "/vms/capsul-queued0000"),
        ("serial-console", "/vms/capsul-running000/console"), ("no-console", "/vms/capsul-stopped000/console"),
        ("screen", "/vms/capsul-running000/screen"), ("no-screen", "/vms/capsul-stopped000/screen"),
        ("failed-operation", "/vms/capsul-failed0000/operations/2"),
        ("firewall", "/vms/capsul-running000/firewall"), ("ports", "/vms/capsul-running000/ports"),
        ("reverse-dns", "/vms/capsul-silent0000/reverse-dns"), ("no-names", "/vms/capsul-running000/reverse-dns"),
        ("addresses", "/vms/capsul-silent0000/addresses"), ("no-addresses", "/vms/capsul-running000/addresses"),
        ("vm-keys", "/vms/capsul-running000/keys"), ("no-ports", "/vms/capsul-stopped000/ports"),
        ("rescue", "/vms/capsul-running000/rescue"), ("rescued-vm", "/vms/capsul-rescued000"),
        ("no-rescue", "/vms/capsul-rescued000/rescue"),
        ("reinstall", "/vms/capsul-running000/reinstall"), ("statement", "/balance/statement?day=2026-02-28"),
        ("month", "/balance/month"), ("past-month", "/balance/month?Of=2026-02"),
        ("receipt", "/balance/receipts/1"), ("no-receipt", "/balance/receipts/3"),
        ("add-money", "/balance/add"), ("auto-top-up", "/balance/auto"), ("payments", "/balance/payments"),
        ("payment", "/balance/payments/1"),
        ("close-account", "/account/close"), ("friends", "/balance/friends"),
        ("spending-limits", "/balance/limits"),
        ("give-to-fund", "/balance/give"), ("level", "/balance/level"),
        ("open-payment", "/balance/payments/2"), ("odd-payment", "/balance/payments/3"),
    ];

    /// <summary>For an account that is an operator's.</summary>
    public static readonly (string Name, string Path)[] Operator =
    [
        ("operator", "/operator"), ("hosts", "/operator/hosts"), ("host", "/operator/hosts/host-1"),
        ("remove-host", "/operator/hosts/host-1/remove"), ("operations", "/operator/operations?Which=all"),
        ("dunning", "/operator/dunning"), ("prices", "/operator/prices"), ("receipts", "/operator/receipts"),
        ("closings", "/operator/closings"), ("vouchers", "/operator/vouchers"),
        ("new-accounts", "/operator/new-accounts"), ("fund", "/operator/fund"),
        ("price-levels", "/operator/price-levels"), ("sizes", "/operator/sizes"),
        ("pools", "/operator/pools"), ("pool", "/operator/pools/host-1"),
        ("adopt", "/operator/hosts/host-1/adopt"),
        ("move-vm", "/operator/vms/capsul-running000/move"),
        ("operator-operation", "/operator/operations/1"), ("ledger", "/ledger"),
        ("bank", "/operator/bank"), ("operator-payments", "/operator/payments"),
        ("operator-payment", "/operator/payments/1"), ("auto-top-ups", "/operator/auto-top-ups"),
        ("ledger-accounts", "/operator/ledger"), ("ledger-account", "/operator/ledger/1000?hour=1772323200"),
    ];

    /// <summary>Those that do not answer 200.</summary>
    public static int StatusOf(string path) => path switch
    {
        "/sign-in/unknown" or "/nowhere" or "/give/unknown" => 404,
        "/vms/capsul-creating00/delete" or "/vms/capsul-rescued000/rescue" => 409,
        _ => 200,
    };
}
