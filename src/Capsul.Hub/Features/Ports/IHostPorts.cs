using Capsul.Foundation;

namespace Capsul.Hub.Features.Ports;

/// <summary>Connections to ports of the VMs on all hosts.</summary>
public interface IHostPorts
{
    /// <summary>Asks the VM's host to connect. The caller disposes it.</summary>
    Task<Outcome<IHostPort>> ConnectAsync(string host, string vm, int port, CancellationToken cancel);
}

/// <summary>A connection to a port of a VM. What does not work, reading from it says.</summary>
public interface IHostPort : IAsyncDisposable
{
    Stream Bytes { get; }

    /// <summary>Why the host has ended it; empty if it did not say.</summary>
    string Problem { get; }

    /// <summary>No more is written.</summary>
    Task FinishAsync(CancellationToken cancel);
}
