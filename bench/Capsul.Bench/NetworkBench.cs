using System.Diagnostics;
using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Bench;

/// <summary>
/// What a VM sends by TCP to a server outside, in each network mode, against a bare QEMU with the same back end in a
/// machine of its own, in turns; and how long one change of the packet filter takes for the 500th VM of a host.
/// Everything is in namespaces that this makes.
/// </summary>
static class NetworkBench
{
    const int Guests = 500, Compared = 20, VmsOfAnAccount = 5, Rounds = 5;
    const double MaxRules = 2, MinShare = 0.8;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var rules = await RulesAsync(cancel);
        var shares = new List<(string Mode, double Share)>();
        foreach (var mode in (string[])["private", "nat", "routed", "bridged"])
            shares.Add((mode, await ShareAsync(mode, cancel)));
        var figures = string.Join(", ", shares.Select(s => $"{s.Mode} {Figures.Text(s.Share)}"));
        return Figures.Verdict(check, rules <= MaxRules && shares.All(s => s.Share >= MinShare),
            $"network: a VM sends {figures} of what a bare QEMU does (bar at least {Figures.Text(MinShare)}), the "
            + $"rules of VM {Guests} take {Figures.Text(rules)} times the first ones' (bar {Figures.Text(MaxRules)})");
    }

    /// <summary>The last VMs' time, as a multiple of the first ones'.</summary>
    static async Task<double> RulesAsync(CancellationToken cancel)
    {
        var name = $"capsul-rules{Environment.ProcessId}";
        await new Command("ip", "netns", "add", name).RunAsync(cancel);
        try
        {
            var filter = new Filter(arguments =>
                new Command("nsenter", [$"--net=/run/netns/{name}", "--", "nft", .. arguments]));
            await filter.PrepareAsync([], cancel);
            var times = new List<double>();
            for (var n = 0; n < Guests; n++)
            {
                var began = Stopwatch.GetTimestamp();
                await filter.AllowAsync(GuestOf(n), cancel);
                times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            }
            var (first, last) = (Figures.Median(times[..Compared]), Figures.Median(times[^Compared..]));
            Console.WriteLine($"rules of a VM: {Figures.Text(first, "0.0")} ms for the first {Compared}, "
                + $"{Figures.Text(last, "0.0")} ms for the last {Compared} of {Guests}");
            return last / first;
        }
        finally
        {
            await new Command("ip", "netns", "delete", name).TryRunAsync(CancellationToken.None);
        }
    }

    static Guest GuestOf(int number)
    {
        var mac = $"52:54:00:00:{number >> 8:x2}:{number & 255:x2}";
        return new Guest(DomainXml.Tap($"capsul-{number:0000000000}"), mac,
            new IPAddress([10, 77, (byte)(1 + number / 250), (byte)(1 + number % 250)]),
            Filter.Derive(IPAddress.Parse("fd00:77::"), mac),
            new Firewall(false, $"{number / VmsOfAnAccount:x32}",
                [new(IpProtocol.Tcp, 22, 22, null), new(IpProtocol.Tcp, 80, 80, null),
                    new(IpProtocol.Tcp, 443, 443, null)]));
    }

    static async Task<double> ShareAsync(string mode, CancellationToken cancel)
    {
        await using var ours = await VmSender.StartAsync(mode, cancel);
        await using var bare = await BareSender.StartAsync(mode, cancel);
        // What a round sends takes a few seconds, whatever this machine can do.
        var megabytes = await bare.FindSizeAsync(cancel);
        var shares = new List<double>();
        for (var round = 0; round < Rounds; round++)
        {
            // They take turns in going first, so that what drifts on the machine hits both.
            var other = round % 2 == 0 ? await bare.SendAsync(megabytes, cancel) : 0;
            var own = await ours.SendAsync(megabytes, cancel);
            if (round % 2 == 1) other = await bare.SendAsync(megabytes, cancel);
            shares.Add(own / other);
            Console.WriteLine($"{mode,8}   bare {Figures.Text(other, "0.0"),6} MB/s   VM {Figures.Text(own, "0.0"),6} "
                + $"MB/s   {Figures.Text(own / other)}");
        }
        return Figures.Median(shares);
    }
}
