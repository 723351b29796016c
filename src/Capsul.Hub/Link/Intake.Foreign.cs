using Capsul.Hub.Features.Hosts;
using Capsul.Wire;

namespace Capsul.Hub.Link;

/// <summary>Foreign machines: what they are called is somebody's text, and what they have may be anything.</summary>
public static partial class Intake
{
    public static IReadOnlyList<ForeignMachineRow> Check(ForeignMachines foreign)
    {
        Must(foreign.Machines.Count <= Protocol.MaxForeign,
            $"a host may report {Protocol.MaxForeign} foreign machines");
        return [.. foreign.Machines.Select(Check).DistinctBy(m => m.Uuid)];
    }

    static ForeignMachineRow Check(ForeignMachine machine)
    {
        Must(Formats.IsUuid(machine.Uuid), "a foreign machine's UUID is malformed");
        Must(machine.Vcpus >= 0 && machine.MemoryMb >= 0 && machine.DiskGb >= 0,
            "a foreign machine's size is out of range");
        return new ForeignMachineRow(machine.Uuid, Line(machine.Name, MaxTitleChars),
            machine.Power switch { Power.On => "on", Power.Off => "off", _ => "unknown" }, machine.Vcpus,
            machine.MemoryMb, machine.DiskGb, Line(machine.DiskFormat, MaxWordChars),
            Formats.IsMac(machine.Mac) ? machine.Mac : "", Line(machine.Refusal, MaxTextChars));
    }
}
