using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>What is reported to the Hub: only what has changed.</summary>
public sealed partial class VmReconciler
{
    async Task ReportProblemAsync(VmRecord current, HypervisorException error, CancellationToken cancel)
    {
        var tail = "";
        if (!error.Unreachable)
        {
            try
            {
                tail = ConsoleText.Tail(await hypervisor.ConsoleTailAsync(Id, SshReadiness.ConsoleBytes, cancel),
                    Protocol.ConsoleTailBytes);
            }
            catch (HypervisorException other)
            {
                Log.Failed(log, Id, other.Message);
            }
        }
        Report(current, error.Unreachable ? Power.Unknown : last.Power, last.Phase,
            tail, error.Message, error.Final, diskLost: error.DiskLost, paused: !error.Unreachable && last.Paused);
    }

    void Report(
        VmRecord current, Power power, Phase phase, string tail = "", string problem = "", bool final = false,
        bool stoppedItself = false, bool diskLost = false, bool paused = false, TransferReport? transfer = null)
    {
        var next = new VmReport
        {
            Id = Id,
            Power = power,
            Phase = phase,
            Epoch = current.Epoch,
            Generation = current.Wanted.Generation,
            Restarts = current.RestartsDone,
            ConsoleTail = tail,
            Problem = paused && problem.Length == 0 ? OutOfSpace : problem,
            ProblemFinal = final,
            StoppedItself = stoppedItself,
            DiskLost = diskLost,
            Paused = paused,
            Transfer = transfer,
            HasRun = current.HasRunHere,
            Disk = power == Power.On ? progress.Boot?.Disk ?? 0 : 0,
            Rescue = power == Power.On ? Rescue : 0,
            KeySet = current.KeySetTaken,
        };
        if (power == Power.On && sshPort > 0) (next.SshHost, next.SshPort) = (relays.PublicName, sshPort);
        next.HostKeys.AddRange(current.KeysOf(next.Rescue));
        if (next.Equals(last)) return;
        last = next;
        report(next);
    }
}
