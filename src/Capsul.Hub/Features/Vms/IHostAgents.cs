using Capsul.Foundation;

namespace Capsul.Hub.Features.Vms;

/// <summary>The agents inside the VMs on all hosts.</summary>
public interface IHostAgents
{
    /// <summary>Replaces a user's authorized keys in a VM; the refusal, or null.</summary>
    Task<Problem?> SetKeysAsync(
        string host, string vm, string user, IReadOnlyList<string> keys, CancellationToken cancel);
}
