using Capsul.Foundation;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The consoles and screens of the VMs on all hosts.</summary>
public interface IHostConsoles
{
    /// <summary>Opens a VM's console or screen. The caller disposes it.</summary>
    Task<Outcome<IHostConsole>> OpenAsync(string host, string vm, ViewKind kind, CancellationToken cancel);

    /// <summary>Has the agent inside a VM set a user's password; the refusal, or null.</summary>
    Task<Problem?> SetPasswordAsync(string host, string vm, string user, string password, CancellationToken cancel);
}

/// <summary>An open console or screen, for one reader and one writer.</summary>
public interface IHostConsole : IAsyncDisposable
{
    /// <summary>Why the host has ended it; empty while it has not, or if it did not say.</summary>
    string Problem { get; }

    /// <summary>What the guest shows next; null when the host has ended it.</summary>
    /// <exception cref="IOException">The connection to the host broke.</exception>
    Task<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken cancel);

    /// <summary>Types. The caller may use its buffer again when this returns.</summary>
    /// <exception cref="IOException">The connection to the host broke.</exception>
    Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel);
}
