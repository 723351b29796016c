using System.Text;
using System.Text.RegularExpressions;
using Capsul.Spoke.Hypervisor;

namespace Capsul.Spoke.Vms;

/// <summary>
/// The serial consoles that somebody watches. Each has one line to its guest, however many watch; it is opened for the
/// first and closed after the last. Nobody slows the guest down: who does not keep up misses output.
/// </summary>
public sealed partial class Consoles(IHypervisor hypervisor, TimeProvider time)
{
    /// <summary>What a viewer sees first: about a screen and what was above it.</summary>
    const int HistoryBytes = 8 << 10;

    readonly Dictionary<string, SerialConsole> open = new(StringComparer.Ordinal);
    readonly SemaphoreSlim gate = new(1, 1);

    /// <summary>Watches a console until the view is disposed, or the VM is turned off.</summary>
    /// <exception cref="HypervisorException">It cannot be opened.</exception>
    public async Task<ConsoleView> WatchAsync(string vm, CancellationToken cancel)
    {
        // What a terminal needs at the end of each line, and logs need not have.
        var history = LineEnd().Replace(await hypervisor.ConsoleTailAsync(vm, HistoryBytes, cancel), "\r\n");
        await gate.WaitAsync(cancel);
        try
        {
            if (!open.TryGetValue(vm, out var console) || console.HasEnded)
            {
                var line = await hypervisor.OpenConsoleAsync(vm, cancel);
                open[vm] = console = new SerialConsole(line, time);
            }
            return console.Add(Encoding.UTF8.GetBytes(history), view => LeaveAsync(vm, console, view));
        }
        finally
        {
            gate.Release();
        }
    }

    async ValueTask LeaveAsync(string vm, SerialConsole console, ConsoleView view)
    {
        await gate.WaitAsync(CancellationToken.None);
        try
        {
            if (!console.Remove(view)) return;
            if (open.GetValueOrDefault(vm) == console) open.Remove(vm);
            await console.DisposeAsync();
        }
        finally
        {
            gate.Release();
        }
    }

    [GeneratedRegex("\r*\n", RegexOptions.None, 1000)]
    private static partial Regex LineEnd();
}
