using Capsul.Hub.Leadership;
using Capsul.Postgres;

namespace Capsul.Chaos;

/// <summary>
/// Backs up and restores the database with copies of the tables instead of a dump, because a dump takes a second: the
/// result is the same, with the epoch raised as in a real restore (<see cref="SeatSql.Lift"/>).
/// </summary>
sealed class Snapshot(Db db)
{
    static readonly CancellationToken Never = CancellationToken.None;

    /// <summary>Tables that a run changes, parents first.</summary>
    static readonly string[] Tables =
    [
        "accounts", "account_totals", "payments", "ssh_keys", "hosts", "images", "host_images", "prices", "vms",
        "vm_extras", "addresses", "vm_ssh_keys", "vm_ssh_host_keys", "reinstalls", "rescues", "key_changes",
        "usage_spans", "vm_totals", "operations", "operation_events", "moves", "move_refusals", "alerts",
        "ledger_accounts", "ledger_transactions", "ledger_entries", "metering", "payment_taxes", "receipts",
    ];

    public bool IsTaken { get; private set; }

    public async Task TakeAsync()
    {
        await db.ExecuteAsync(
            "DROP SCHEMA IF EXISTS taken CASCADE; CREATE SCHEMA taken;"
            + string.Concat(Tables.Select(t => $"CREATE TABLE taken.{t} AS TABLE public.{t};"))
            // It is generated, and the last one.
            + "ALTER TABLE taken.prices DROP COLUMN of_size;", null, Never);
        IsTaken = true;
    }

    public async Task RestoreAsync()
    {
        // Triggers are disabled, as in a restore: generations go back without notifications.
        await db.ExecuteAsync(
            $"BEGIN; {Triggers("DISABLE")} {Truncate}"
            + string.Concat(
                Tables.Select(t => $"INSERT INTO public.{t} OVERRIDING SYSTEM VALUE SELECT * FROM taken.{t};"))
            + $"{Triggers("ENABLE")} COMMIT;", null, Never);
        await db.FindAsync<long>(SeatSql.Lift, null, Never);
        IsTaken = false;
    }

    /// <summary>An empty database with one account that has a balance, and its key.</summary>
    public Task ClearAsync(DateTime now) => db.ExecuteAsync(
        $"""
        BEGIN; {Triggers("DISABLE")} {Truncate} {Triggers("ENABLE")} COMMIT;
        INSERT INTO ledger_accounts (id, type) VALUES (1, 'usage_income'), (2, 'cash');
        INSERT INTO metering DEFAULT VALUES;
        INSERT INTO prices (size, active_from, dollars_per_month, announced, applied)
        SELECT id, 'epoch', dollars_per_month, 'epoch', 'epoch' FROM sizes;
        INSERT INTO prices (size, active_from, dollars_per_month, announced, applied)
        VALUES ('ipv4-address', 'epoch', 2, 'epoch', 'epoch');
        INSERT INTO accounts (email) VALUES ('{Actors.Email}');
        INSERT INTO payments (email, dollars, method) VALUES ('{Actors.Email}', 100000, 'cash');
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        VALUES ('{Actors.Email}', 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', @now);
        INSERT INTO hosts (id, state, local) VALUES ('rack1', 'joined', TRUE), ('rack2', 'joined', TRUE);
        """, new { now }, Never);

    static string Triggers(string how) =>
        string.Concat(Tables.Select(t => $"ALTER TABLE public.{t} {how} TRIGGER USER;"));

    static string Truncate => $"TRUNCATE {string.Join(", ", Tables.Reverse())} CASCADE;";
}
