using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Watches the accounts whose lists are open in a browser. All streams of an account share one watch: after a
/// notification one query reads the new version, and every stream gets it. An account that does not change is only
/// read now and then, in case a notification was lost.
/// </summary>
public sealed class AccountWatches(Db db, Listener listener, TimeProvider time)
{
    static readonly TimeSpan LookAgain = TimeSpan.FromMinutes(1);

    readonly Db db = db;
    readonly Listener listener = listener;
    readonly TimeProvider time = time;
    readonly Lock gate = new();
    readonly Dictionary<string, Shared> shared = new(StringComparer.Ordinal);

    /// <summary>Starts watching an account; dispose to end.</summary>
    public AccountWatch Watch(string email)
    {
        lock (gate)
        {
            if (!shared.TryGetValue(email, out var all))
                shared[email] = all = new Shared(this, email);
            return new AccountWatch(all, time);
        }
    }

    /// <summary>The watch of one account, while anybody is interested in it.</summary>
    internal sealed class Shared
    {
        readonly AccountWatches owner;
        readonly string email;
        readonly Subscription changes;
        readonly CancellationTokenSource stop = new();
        readonly HashSet<Signal> streams = [];

        public Shared(AccountWatches owner, string email)
        {
            (this.owner, this.email) = (owner, email);
            changes = owner.listener.Subscribe(Listener.Accounts, email);
            _ = Task.Run(RunAsync, CancellationToken.None);
        }

        /// <summary>The version last read; null when none has been read since the watch began.</summary>
        public string? Version { get; private set; }

        /// <summary>Called with the lock held.</summary>
        public void Add(Signal stream) => streams.Add(stream);

        public void Remove(Signal stream)
        {
            lock (owner.gate)
            {
                if (!streams.Remove(stream) || streams.Count > 0) return;
                owner.shared.Remove(email);
            }
            stop.Cancel();
            changes.Dispose();
        }

        async Task RunAsync()
        {
            try
            {
                while (true)
                {
                    await changes.WaitAsync(LookAgain, stop.Token);
                    Publish(await ReadAsync());
                }
            }
            catch (OperationCanceledException)
            {
                // The last stream has ended.
                stop.Dispose();
            }
        }

        /// <summary>Null when the database does not respond: then each stream finds out by itself.</summary>
        async Task<string?> ReadAsync()
        {
            try
            {
                return await owner.db.FindAsync<string>(BillingSql.Changes, new { email }, stop.Token);
            }
            catch (Exception error) when (error is NpgsqlException or TimeoutException)
            {
                return null;
            }
        }

        void Publish(string? version)
        {
            lock (owner.gate)
            {
                if (version is not null && version == Version) return;
                Version = version;
                foreach (var stream in streams) stream.Set();
            }
        }
    }
}

/// <summary>What one stream sees of an account.</summary>
public sealed class AccountWatch : IDisposable
{
    readonly AccountWatches.Shared shared;
    readonly TimeProvider time;
    readonly Signal signal = new();

    internal AccountWatch(AccountWatches.Shared shared, TimeProvider time)
    {
        (this.shared, this.time) = (shared, time);
        shared.Add(signal);
    }

    /// <summary>The version last read for all streams, or null.</summary>
    public string? Version => shared.Version;

    public Task<bool> WaitAsync(TimeSpan limit, CancellationToken cancel) => signal.WaitAsync(limit, time, cancel);

    public void Dispose() => shared.Remove(signal);
}
