namespace Capsul.Spoke.Hypervisor;

/// <summary>Machines that Capsul did not make. They are in memory: no test kills this process with one.</summary>
public sealed partial class Simulated
{
    /// <param name="Machine">What is reported of it.</param>
    /// <param name="WasOn">It was on when it was taken over; null: it was not.</param>
    sealed record Foreign(ForeignMachine Machine, bool? WasOn);

    readonly Dictionary<string, Foreign> foreign = new(StringComparer.Ordinal);

    /// <summary>Adds a machine as if somebody had made it by hand.</summary>
    public void AddForeign(ForeignMachine machine)
    {
        lock (gate) foreign[machine.Uuid] = new Foreign(machine, null);
    }

    public Task<IReadOnlyList<ForeignMachine>> ForeignAsync(CancellationToken cancel) =>
        DoAsync<IReadOnlyList<ForeignMachine>>(Verb.Foreign, () =>
        {
            lock (gate) return [.. foreign.Values.Where(f => f.WasOn is null).Select(f => f.Machine)];
        }, cancel, lie: []);

    public Task<bool> TakeOverAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.TakeOver, () =>
    {
        lock (gate)
        {
            if (machines.GetValueOrDefault(vm.Id) is { Disk: true }) return true;
            if (foreign.GetValueOrDefault(vm.Adopt) is not { } found)
                throw new HypervisorException("The machine to adopt is no longer on this host.", final: true);
            if (found.Machine.Refusal.Length > 0) throw new HypervisorException(found.Machine.Refusal, final: true);
            var wasOn = found.WasOn ?? found.Machine.Power == DomainPower.On;
            var power = GuestListens ? DomainPower.Off : found.Machine.Power;
            var isOff = found.Machine.Power == DomainPower.Off;
            foreign[vm.Adopt] = new Foreign(found.Machine with { Power = power }, wasOn);
            Change(vm.Id, m => m with { Disk = isOff, TakenFrom = vm.Adopt });
            return isOff;
        }
    }, cancel);

    public Task EndTakeOverAsync(string id, CancellationToken cancel) => DoAsync(Verb.EndTakeOver, () =>
    {
        lock (gate)
        {
            if (machines.GetValueOrDefault(id) is not { TakenFrom.Length: > 0 } machine) return true;
            foreign.Remove(machine.TakenFrom);
            Change(id, m => m with { TakenFrom = "" });
            return true;
        }
    }, cancel);

    /// <summary>As it was found. The caller has the lock.</summary>
    void GiveBack(string uuid)
    {
        if (foreign.GetValueOrDefault(uuid) is { WasOn: { } wasOn } taken)
            foreign[uuid] = new Foreign(
                taken.Machine with { Power = wasOn ? DomainPower.On : DomainPower.Off }, null);
    }
}
