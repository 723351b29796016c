using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Capsul.Tests.Support;

/// <summary>Ethernet frames as no well-behaved guest would send them (packet(7)).</summary>
static class RawFrames
{
    const int CloneNewNet = 0x40000000, PacketFamily = 17, RawType = 3;

    /// <summary>IPv6 in Ethernet, to all nodes of the link.</summary>
    public static byte[] Ipv6(string mac, string from, byte next, byte[] payload, string to = "ff02::1") =>
    [
        0x33, 0x33, 0, 0, 0, 1, .. Convert.FromHexString(mac.Replace(":", "", StringComparison.Ordinal)), 0x86, 0xdd,
        0x60, 0, 0, 0, (byte)(payload.Length >> 8), (byte)payload.Length, next, 255,
        .. IPAddress.Parse(from).GetAddressBytes(), .. IPAddress.Parse(to).GetAddressBytes(), .. payload,
    ];

    /// <summary>An ICMPv6 message of neighbor discovery (RFC 4861): type, 7 bytes, and the target.</summary>
    public static byte[] Discovery(byte type, string target) =>
        [type, 0, 0, 0, 0, 0, 0, 0, .. IPAddress.Parse(target).GetAddressBytes()];

    public static byte[] Udp(ushort from, ushort to)
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, from);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(2), to);
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(4), (ushort)bytes.Length);
        return bytes;
    }

    /// <summary>A fragment (RFC 8200, 4.5): the first of several, with a payload of its own.</summary>
    public static byte[] Fragment(byte next, byte[] payload) => [next, 0, 0, 1, 0, 0, 0, 1, .. payload];

    /// <summary>Sends frames from an interface in the network namespace of a process.</summary>
    public static Task SendAsync(int process, int card, params byte[][] frames)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        // A thread of its own: it stays in that namespace until it ends.
        new Thread(() =>
        {
            try
            {
                using var network = File.OpenHandle($"/proc/{process}/ns/net");
                Check(setns(network, CloneNewNet));
                var to = new byte[20];
                BinaryPrimitives.WriteUInt16LittleEndian(to, PacketFamily);
                BinaryPrimitives.WriteInt32LittleEndian(to.AsSpan(4), card);
                using var socket = new SafeFileHandle(Check(OpenSocket(PacketFamily, RawType, 0)), ownsHandle: true);
                foreach (var frame in frames) Check((int)sendto(socket, frame, frame.Length, 0, to, to.Length));
                done.SetResult();
            }
            catch (IOException error)
            {
                done.SetException(error);
            }
        })
        { IsBackground = true }.Start();
        return done.Task;
    }

    static int Check(int result) => result >= 0 ? result
        : throw new IOException($"error {Marshal.GetLastPInvokeError()}");

#pragma warning disable SYSLIB1054 // The generated form needs unsafe code, which tests do not allow.
    [DllImport("libc", SetLastError = true)]
    static extern int setns(SafeFileHandle network, int type);

    [DllImport("libc", EntryPoint = "socket", SetLastError = true)]
    static extern nint OpenSocketNative(int family, int type, int protocol);

    [DllImport("libc", SetLastError = true)]
    static extern nint sendto(SafeFileHandle socket, byte[] data, nint length, int flags, byte[] to, int toLength);
#pragma warning restore SYSLIB1054

    static int OpenSocket(int family, int type, int protocol) => (int)OpenSocketNative(family, type, protocol);
}
