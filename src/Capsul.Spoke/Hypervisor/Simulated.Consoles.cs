using System.Buffers;
using System.Collections.Concurrent;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The console of a simulated machine: it shows what is typed, and says "pong" to "ping".</summary>
public sealed partial class Simulated
{
    readonly ConcurrentDictionary<string, Line> consoles = new(StringComparer.Ordinal);

    public Task<Line> OpenConsoleAsync(string id, CancellationToken cancel) => DoAsync(Verb.OpenConsole, () =>
    {
        lock (gate)
        {
            if (machines.GetValueOrDefault(id) is not { On: true })
                throw new HypervisorException("It is off.", final: true);
        }
        var (here, there) = Line.Pair();
        consoles[id] = there;
        _ = AnswerAsync(there);
        return here;
    }, cancel);

    /// <summary>The passwords that were set, by machine and user.</summary>
    public ConcurrentDictionary<(string Id, string User), string> Passwords { get; } = new();

    public Task SetPasswordAsync(string id, string user, string password, CancellationToken cancel) =>
        DoAsync(Verb.SetPassword, () =>
        {
            lock (gate)
            {
                if (machines.GetValueOrDefault(id) is not { On: true })
                    throw new HypervisorException("It is off.", final: true);
            }
            Passwords[(id, user)] = password;
            return true;
        }, cancel);

    /// <summary>The keys that were set since it was made, by machine and user, a line each.</summary>
    public ConcurrentDictionary<(string Id, string User), string> Keys { get; } = new();

    public Task SetKeysAsync(string id, string user, IReadOnlyList<string> keys, CancellationToken cancel) =>
        DoAsync(Verb.SetKeys, () =>
        {
            lock (gate)
            {
                if (machines.GetValueOrDefault(id) is not { On: true })
                    throw new HypervisorException("It is off.", final: true);
            }
            Keys[(id, user)] = string.Join('\n', keys);
            return true;
        }, cancel);

    /// <summary>What its guest prints.</summary>
    public async Task PrintAsync(string id, ReadOnlyMemory<byte> text, CancellationToken cancel) =>
        await consoles[id].Output.WriteAsync(text, cancel);

    /// <summary>A machine that is turned off closes its console.</summary>
    void CloseConsole(string id)
    {
        if (consoles.TryRemove(id, out var line)) line.Output.Complete();
    }

    static async Task AnswerAsync(Line line)
    {
        var typed = new List<byte>();
        while (true)
        {
            var read = await line.Input.ReadAsync();
            foreach (var one in read.Buffer.ToArray())
            {
                if (one == '\r')
                {
                    line.Output.Write(typed is [.., (byte)'p', (byte)'i', (byte)'n', (byte)'g']
                        ? "\r\npong\r\n"u8 : "\r\n"u8);
                    typed.Clear();
                    continue;
                }
                if (typed.Count < 100) typed.Add(one);
                line.Output.Write([one]);
            }
            line.Input.AdvanceTo(read.Buffer.End);
            var sent = await line.Output.FlushAsync();
            if (read.IsCompleted || sent.IsCompleted) return;
        }
    }
}
