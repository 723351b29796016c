using System.Globalization;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Ports;

/// <summary>A port of a VM, as people write it: 80, 80/tcp or 51820/udp.</summary>
/// <param name="Protocol">tcp or udp.</param>
public readonly record struct PortOfVm(int Number, string Protocol)
{
    public const string Tcp = "tcp", Udp = "udp";

    /// <param name="text">What was written; null: nothing. Without a protocol it is TCP.</param>
    public static Outcome<PortOfVm> Parse(string? text)
    {
        var parts = (text ?? "").Trim().Split('/');
        var named = (parts.Length == 2 ? parts[1] : Tcp).ToLowerInvariant();
        if (parts.Length > 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            || number is < 1 or > 65535)
            return new Problem(ProblemKind.Invalid, "Give a port of the capsul from 1 to 65535, such as 80.")
            {
                Field = "Port",
            };
        return named is Tcp or Udp ? new PortOfVm(number, named)
            : new Problem(ProblemKind.Invalid, "Choose a protocol: tcp or udp.") { Field = "Protocol" };
    }

    public override string ToString() => Protocol == Udp ? $"{Number}/udp" : $"{Number}";
}
