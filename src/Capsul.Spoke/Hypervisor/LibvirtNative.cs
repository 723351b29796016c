using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Capsul.Spoke.Hypervisor;

/// <summary>An error of libvirt: its own code (virErrorNumber) and message.</summary>
sealed class LibvirtError(int code, string message) : Exception(message)
{
    public int Code { get; } = code;

    public const int NoDomain = 42, NoNetwork = 43, NoStoragePool = 49, NoStorageVolume = 50, OperationInvalid = 55,
        AgentUnresponsive = 86, AgentUnsynced = 97;
}

/// <summary>
/// A thin layer over the C library: the functions that Capsul uses, one line each, under their own names
/// (https://libvirt.org/html/). Handles are freed by .NET's safe handles; an error is read on the thread on which it
/// occurred, because libvirt stores it per thread, and nothing is printed to standard error.
/// </summary>
static partial class LibvirtNative
{
    const string Library = "libvirt.so.0";

    static readonly Lazy<bool> Ready = new(Initialise);

    /// <summary>Starts the library and the one thread that runs its event loop for this process.</summary>
    public static void Initialize() => _ = Ready.Value;

    /// <summary>The last error of this thread as an exception.</summary>
    public static unsafe LibvirtError LastError()
    {
        var error = virGetLastError();
        return error is null
            ? new LibvirtError(0, "libvirt gave no reason.")
            : new LibvirtError(error->Code, Marshal.PtrToStringUTF8(error->Message) ?? $"libvirt error {error->Code}.");
    }

    /// <summary>Returns the handle, or throws libvirt's error.</summary>
    public static T Check<T>(T handle) where T : SafeHandle
    {
        if (!handle.IsInvalid) return handle;
        var error = LastError();
        handle.Dispose();
        throw error;
    }

    /// <summary>Returns the result, or throws libvirt's error if it is negative.</summary>
    public static int Check(int result) => result >= 0 ? result : throw LastError();

    /// <summary>Text that libvirt allocated and the caller frees.</summary>
    public static string Take(nint text)
    {
        if (text == 0) throw LastError();
        try
        {
            return Marshal.PtrToStringUTF8(text)!;
        }
        finally
        {
            Free(text);
        }
    }

    /// <summary>Frees memory that libvirt allocated with malloc and handed over.</summary>
    public static unsafe void Free(nint memory) => NativeMemory.Free((void*)memory);

    static unsafe bool Initialise()
    {
        virSetErrorFunc(0, &Quiet);
        if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) throw LastError();
        new Thread(RunEvents) { IsBackground = true, Name = "libvirt events" }.Start();
        return true;
    }

    static void RunEvents()
    {
        // One round handles due events and blocks until there are more. A failed round cannot be reported to anyone;
        // the connections' keepalive notices when events stop.
        while (true)
            _ = virEventRunDefaultImpl();
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void Quiet(nint data, nint error) { }

    [StructLayout(LayoutKind.Sequential)]
    internal struct ErrorRecord
    {
        public int Code;
        public int Domain;
        public nint Message;
    }

    /// <summary>virTypedParameter: a name, and a value of up to 8 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct TypedParameter
    {
        public fixed byte Field[80];
        public int Type;
        public ulong Value;
    }

    /// <summary>virDomainStatsRecord.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct StatsRecord
    {
        public nint Domain;
        public TypedParameter* Parameters;
        public int Count;
    }

    [LibraryImport(Library)] private static partial int virInitialize();
    [LibraryImport(Library)]
    private static unsafe partial void virSetErrorFunc(nint data, delegate* unmanaged[Cdecl]<nint, nint, void> handler);
    [LibraryImport(Library)] private static unsafe partial ErrorRecord* virGetLastError();
    [LibraryImport(Library)] private static partial int virEventRegisterDefaultImpl();
    [LibraryImport(Library)] private static partial int virEventRunDefaultImpl();

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial ConnectHandle virConnectOpen(string uri);
    [LibraryImport(Library)] internal static partial int virConnectClose(nint connect);
    [LibraryImport(Library)] internal static partial int virConnectIsAlive(ConnectHandle connect);
    [LibraryImport(Library)]
    internal static partial int virConnectSetKeepAlive(ConnectHandle connect, int intervalSeconds, uint count);
    [LibraryImport(Library)] internal static partial int virConnectGetVersion(ConnectHandle connect, out nuint version);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint virConnectGetDomainCapabilities(ConnectHandle connect,
        string? emulator, string? arch, string? machine, string? type, uint flags);
    [LibraryImport(Library)]
    internal static unsafe partial int virConnectDomainEventRegisterAny(ConnectHandle connect, nint domain, int eventId,
        delegate* unmanaged[Cdecl]<nint, nint, int, int, nint, int> callback, nint opaque, nint free);
    [LibraryImport(Library)]
    internal static partial int virConnectDomainEventDeregisterAny(ConnectHandle connect, int callback);
    [LibraryImport(Library)]
    internal static partial int virConnectListAllDomains(ConnectHandle connect, out nint domains, uint flags);
    [LibraryImport(Library)]
    internal static unsafe partial int virConnectGetAllDomainStats(
        ConnectHandle connect, uint stats, StatsRecord*** records, uint flags);
    [LibraryImport(Library)] internal static unsafe partial void virDomainStatsRecordListFree(StatsRecord** records);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial DomainHandle virDomainLookupByName(ConnectHandle connect, string name);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial DomainHandle virDomainDefineXMLFlags(ConnectHandle connect, string xml, uint flags);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial DomainHandle virDomainLookupByUUIDString(ConnectHandle connect, string uuid);
    [LibraryImport(Library)] internal static unsafe partial int virDomainGetUUIDString(nint domain, byte* text);
    [LibraryImport(Library)] internal static partial nint virDomainGetXMLDesc(nint domain, uint flags);
    [LibraryImport(Library)] internal static partial nint virDomainGetXMLDesc(DomainHandle domain, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainIsPersistent(nint domain);
    [LibraryImport(Library)] internal static partial int virDomainSnapshotNum(nint domain, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainHasManagedSaveImage(nint domain, uint flags);
    [LibraryImport(Library)] internal static unsafe partial int virDomainGetJobInfo(nint domain, long* info);
    [LibraryImport(Library)] internal static partial int virDomainFree(nint domain);
    [LibraryImport(Library)] internal static partial nint virDomainGetName(nint domain);
    [LibraryImport(Library, EntryPoint = "virDomainGetState")]
    internal static partial int virDomainGetRawState(nint domain, out int state, out int reason, uint flags);
    [LibraryImport(Library)]
    internal static partial int virDomainGetState(DomainHandle domain, out int state, out int reason, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainCreateWithFlags(DomainHandle domain, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainShutdownFlags(DomainHandle domain, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainResume(DomainHandle domain);
    [LibraryImport(Library)]
    internal static partial int virDomainAgentSetResponseTimeout(DomainHandle domain, int seconds, uint flags);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int virDomainSetUserPassword(
        DomainHandle domain, string user, string password, uint flags);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int virDomainAuthorizedSSHKeysSet(
        DomainHandle domain, string user, string[] keys, uint count, uint flags);
    [LibraryImport(Library)]
    internal static partial int virDomainOpenGraphicsFD(DomainHandle domain, uint index, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainDestroyFlags(DomainHandle domain, uint flags);
    [LibraryImport(Library)] internal static partial int virDomainUndefineFlags(DomainHandle domain, uint flags);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial NetworkHandle virNetworkLookupByName(ConnectHandle connect, string name);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial NetworkHandle virNetworkDefineXML(ConnectHandle connect, string xml);
    [LibraryImport(Library)] internal static partial int virNetworkFree(nint network);
    [LibraryImport(Library)] internal static partial int virNetworkIsActive(NetworkHandle network);
    [LibraryImport(Library)] internal static partial int virNetworkCreate(NetworkHandle network);
    [LibraryImport(Library)] internal static partial int virNetworkDestroy(NetworkHandle network);
    [LibraryImport(Library)] internal static partial int virNetworkSetAutostart(NetworkHandle network, int on);
    [LibraryImport(Library)] internal static partial nint virNetworkGetXMLDesc(NetworkHandle network, uint flags);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int virNetworkUpdate(NetworkHandle network, uint command, uint section,
        int parent, string xml, uint flags);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial PoolHandle virStoragePoolLookupByName(ConnectHandle connect, string name);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial PoolHandle virStoragePoolDefineXML(ConnectHandle connect, string xml, uint flags);
    [LibraryImport(Library)] internal static partial int virStoragePoolFree(nint pool);
    [LibraryImport(Library)] internal static partial int virStoragePoolIsActive(PoolHandle pool);
    [LibraryImport(Library)] internal static partial int virStoragePoolCreate(PoolHandle pool, uint flags);
    [LibraryImport(Library)] internal static partial int virStoragePoolSetAutostart(PoolHandle pool, int on);
    [LibraryImport(Library)] internal static partial int virStoragePoolRefresh(PoolHandle pool, uint flags);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial VolumeHandle virStorageVolLookupByName(PoolHandle pool, string name);
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial VolumeHandle virStorageVolCreateXML(PoolHandle pool, string xml, uint flags);
    [LibraryImport(Library)] internal static partial int virStorageVolDelete(VolumeHandle volume, uint flags);
    [LibraryImport(Library)] internal static partial int virStorageVolFree(nint volume);
}

/// <summary>A pointer that is released by one of libvirt's free functions.</summary>
abstract class LibvirtHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;
}

sealed class ConnectHandle : LibvirtHandle
{
    protected override bool ReleaseHandle() => LibvirtNative.virConnectClose(handle) >= 0;
}

sealed class DomainHandle : LibvirtHandle
{
    protected override bool ReleaseHandle() => LibvirtNative.virDomainFree(handle) >= 0;
}

sealed class NetworkHandle : LibvirtHandle
{
    protected override bool ReleaseHandle() => LibvirtNative.virNetworkFree(handle) >= 0;
}

sealed class PoolHandle : LibvirtHandle
{
    protected override bool ReleaseHandle() => LibvirtNative.virStoragePoolFree(handle) >= 0;
}

sealed class VolumeHandle : LibvirtHandle
{
    protected override bool ReleaseHandle() => LibvirtNative.virStorageVolFree(handle) >= 0;
}
