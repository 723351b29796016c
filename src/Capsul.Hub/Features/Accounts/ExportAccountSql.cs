using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// All that is kept of a person, a JSON object a row. Secrets are left out: what is kept of links and sessions proves
/// nothing to anybody, and the texts of emails are deleted when they are sent.
/// </summary>
public static class ExportAccountSql
{
    public const string Account = """
        -- ExportAccountSql.Account
        SELECT to_jsonb(r)::text FROM (SELECT email, created, max_vms, waits FROM accounts WHERE email = @email) AS r
        """;

    public const string Sessions = """
        -- ExportAccountSql.Sessions
        SELECT to_jsonb(r)::text FROM (SELECT created, expires FROM sessions WHERE email = @email) AS r
        """;

    public const string SignInLinks = """
        -- ExportAccountSql.SignInLinks
        SELECT to_jsonb(r)::text
        FROM (SELECT ip, created, expires, used FROM sign_in_tokens WHERE email = @email) AS r
        """;

    public const string SshKeys = """
        -- ExportAccountSql.SshKeys
        SELECT to_jsonb(r)::text
        FROM (SELECT name, type, key, fingerprint, created FROM ssh_keys WHERE email = @email ORDER BY id) AS r
        """;

    public const string Vms = $"""
        -- ExportAccountSql.Vms
        SELECT to_jsonb(r)::text FROM (
            SELECT v.id, v.name, v.size, v.image, v.host, v.created, v.deleted, v.state, v.dollars_per_month,
                host(a.address) AS address, host(a.address6) AS address6, v.extras_per_month,
                (SELECT array_agg(host(f.address) ORDER BY f.address) FROM addresses f
                    WHERE f.vm = v.id AND f.host = v.host AND f.extra IS NOT NULL) AS further_addresses
            FROM vms v LEFT JOIN {AddressSql.FirstOfVm} WHERE v.email = @email) AS r
        """;

    public const string FirewallRules = """
        -- ExportAccountSql.FirewallRules
        SELECT to_jsonb(r)::text FROM (
            SELECT f.vm, f.protocol, f.first_port, f.last_port, f.source
            FROM vms v JOIN firewall_rules f ON f.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string Ports = """
        -- ExportAccountSql.Ports
        SELECT to_jsonb(r)::text FROM (
            SELECT p.vm, p.vm_port, p.protocol, p.via, p.host, p.port, p.opened, p.bytes_in, p.bytes_out
            FROM vms v JOIN ports p ON p.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string Sites = """
        -- ExportAccountSql.Sites
        SELECT to_jsonb(r)::text FROM (
            SELECT s.name, s.vm, s.vm_port, s.added FROM vms v JOIN sites s ON s.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string ReverseNames = """
        -- ExportAccountSql.ReverseNames
        SELECT to_jsonb(r)::text FROM (
            SELECT host(n.address) AS address, n.vm, n.name
            FROM vms v JOIN reverse_names n ON n.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string Rescues = """
        -- ExportAccountSql.Rescues
        SELECT to_jsonb(r)::text FROM (
            SELECT s.vm, s.began, s.ended, s.keys
            FROM vms v JOIN rescues s ON s.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string Traffic = """
        -- ExportAccountSql.Traffic
        SELECT to_jsonb(r)::text FROM (
            SELECT t.vm, t.month, t.received, t.sent, t.told, u.at AS reported, u.cpu_percent, u.busy_since,
                u.hour_connections
            FROM vms v JOIN vm_traffic t ON t.vm = v.id JOIN vm_usage u ON u.vm = v.id
            WHERE v.email = @email ORDER BY t.vm, t.month) AS r
        """;

    public const string Usage = """
        -- ExportAccountSql.Usage
        SELECT to_jsonb(r)::text FROM (
            SELECT s.vm, x.kind AS extra, lower(s.span) AS since, upper(s.span) AS until, s.dollars_per_month
            FROM usage_spans s LEFT JOIN vm_extras x ON x.id = s.extra WHERE s.email = @email) AS r
        """;

    public const string Payments = """
        -- ExportAccountSql.Payments
        SELECT to_jsonb(r)::text FROM (
            SELECT id, created, dollars, method, note, invalidated FROM payments WHERE email = @email ORDER BY id) AS r
        """;

    public const string Vouchers = """
        -- ExportAccountSql.Vouchers
        SELECT to_jsonb(r)::text FROM (
            SELECT v.id, v.amount, v.created, v.expires, v.redeemed, v.payment
            FROM payments p JOIN vouchers v ON v.payment = p.id WHERE p.email = @email ORDER BY v.id) AS r
        """;

    public const string VoucherTries = """
        -- ExportAccountSql.VoucherTries
        SELECT to_jsonb(r)::text FROM (SELECT at FROM voucher_tries WHERE email = @email ORDER BY at) AS r
        """;

    public const string Payouts = """
        -- ExportAccountSql.Payouts
        SELECT to_jsonb(r)::text FROM (
            SELECT o.payment, o.amount, o.state, o.created, o.done
            FROM account_closings c JOIN account_payouts o ON o.closing = c.id WHERE c.email = @email
            ORDER BY o.id) AS r
        """;

    public const string FriendLinks = """
        -- ExportAccountSql.FriendLinks
        SELECT to_jsonb(r)::text FROM (
            SELECT id, name, created, revoked FROM friend_links WHERE email = @email ORDER BY id) AS r
        """;

    public const string Trials = """
        -- ExportAccountSql.Trials
        SELECT to_jsonb(r)::text FROM (
            SELECT t.payment, t.given, t.lapses, t.lapsed, t.taken
            FROM payments p JOIN trials t ON t.payment = p.id WHERE p.email = @email) AS r
        """;

    public const string PriceLevels = """
        -- ExportAccountSql.PriceLevels
        SELECT to_jsonb(r)::text FROM (
            SELECT c.chosen, coalesce(l.name, 'standard') AS name, coalesce(l.percent, 100) AS percent
            FROM level_choices c LEFT JOIN price_levels l ON l.id = c.level WHERE c.email = @email ORDER BY c.id) AS r
        """;

    public const string Sponsorships = """
        -- ExportAccountSql.Sponsorships
        SELECT to_jsonb(r)::text FROM (
            SELECT id, amount, starts, until, months, next_due, reason, ended FROM sponsorships
            WHERE email = @email ORDER BY id) AS r
        """;

    public const string Closings = """
        -- ExportAccountSql.Closings
        SELECT to_jsonb(r)::text FROM (
            SELECT asked, due, money, pay_to, reopened FROM account_closings WHERE email = @email ORDER BY id) AS r
        """;

    public const string BillingAddress = """
        -- ExportAccountSql.BillingAddress
        SELECT to_jsonb(r)::text FROM (
            SELECT name, address, tax_number FROM billing_addresses WHERE email = @email) AS r
        """;

    public const string Receipts = """
        -- ExportAccountSql.Receipts
        SELECT to_jsonb(r)::text FROM (
            SELECT r.number, t.payment, r.corrects, r.issued, r.name, r.address, r.tax_number, r.gross, r.net, r.tax
            FROM payments p JOIN ledger_transactions t ON t.payment = p.id JOIN receipts r ON r.transaction = t.id
            WHERE p.email = @email ORDER BY r.number) AS r
        """;

    public const string SavedCards = """
        -- ExportAccountSql.SavedCards
        SELECT to_jsonb(r)::text FROM (
            SELECT c.id, c.provider, c.created, c.status, c.customer, c.method, c.brand, c.last_four, c.expires
            FROM saved_cards c WHERE c.email = @email ORDER BY c.id) AS r
        """;

    public const string SpendingLimits = """
        -- ExportAccountSql.SpendingLimits
        SELECT to_jsonb(r)::text FROM (
            SELECT monthly_cap, balance_below, usage_above, balance_told, usage_told FROM spending_limits
            WHERE email = @email) AS r
        """;

    public const string AutoTopUps = """
        -- ExportAccountSql.AutoTopUps
        SELECT to_jsonb(r)::text FROM (
            SELECT threshold, amount, cap, enabled, off_because, declines, decline, paused_until, last_charge, changed
            FROM auto_top_ups WHERE email = @email) AS r
        """;

    public const string ProviderPayments = """
        -- ExportAccountSql.ProviderPayments
        SELECT to_jsonb(r)::text FROM (
            SELECT p.id, p.provider, p.amount, p.created, p.status, p.reference, p.received, p.refunded, p.held,
                p.credited, p.automatic, p.decline
            FROM provider_payments p WHERE p.email = @email ORDER BY p.id) AS r
        """;

    public const string Refunds = """
        -- ExportAccountSql.Refunds
        SELECT to_jsonb(r)::text FROM (
            SELECT f.payment, f.amount, f.reason, f.created, f.status, f.sent
            FROM provider_payments p JOIN provider_refunds f ON f.payment = p.id WHERE p.email = @email
            ORDER BY f.id) AS r
        """;

    public const string Transfers = """
        -- ExportAccountSql.Transfers
        SELECT to_jsonb(r)::text FROM (
            SELECT booked, amount, payer, message, state, payment FROM bank_lines
            WHERE email = @email AND state = 'assigned') AS r
        """;

    public const string Reference = """
        -- ExportAccountSql.Reference
        SELECT to_jsonb(r)::text FROM (SELECT code FROM account_references WHERE email = @email) AS r
        """;

    public const string Ledger = """
        -- ExportAccountSql.Ledger
        SELECT to_jsonb(r)::text FROM (
            SELECT e.transaction, t.at, t.kind, t.payment, t.note, -e.amount AS amount
            FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
            WHERE e.account = (SELECT id FROM ledger_accounts WHERE email = @email) ORDER BY e.transaction) AS r
        """;

    public const string Operations = """
        -- ExportAccountSql.Operations
        SELECT to_jsonb(r)::text FROM (
            SELECT o.id, o.kind, o.vm, o.status, o.created, o.finished, o.problem
            FROM vms v JOIN operations o ON o.vm = v.id WHERE v.email = @email) AS r
        """;

    public const string Dunning = """
        -- ExportAccountSql.Dunning
        SELECT to_jsonb(r)::text FROM (SELECT step, taken FROM dunning WHERE email = @email) AS r
        """;

    public const string DunningHolds = """
        -- ExportAccountSql.DunningHolds
        SELECT to_jsonb(r)::text FROM (SELECT until, reason FROM dunning_holds WHERE email = @email) AS r
        """;

    public const string Emails = """
        -- ExportAccountSql.Emails
        SELECT to_jsonb(r)::text
        FROM (SELECT id, subject, created, sent, given_up FROM mails WHERE recipient = @email) AS r
        """;

    public const string AuditLines = """
        -- ExportAccountSql.AuditLines
        SELECT to_jsonb(r)::text FROM (SELECT at, action, subject, detail FROM audit_lines WHERE actor = @email) AS r
        """;
}
