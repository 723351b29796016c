using Capsul.Foundation;

namespace Capsul.Spoke.Link;

/// <summary>
/// The token that the Hub gave with the last connection, in <c>spoke/token</c>; the next one presents it. So a copy of
/// this folder that connects elsewhere is noticed.
/// </summary>
public sealed class ConnectionToken(string folder)
{
    string FilePath => Path.Combine(folder, "token");

    /// <summary>Empty when there is none yet.</summary>
    public byte[] Read() => File.Exists(FilePath) ? File.ReadAllBytes(FilePath) : [];

    /// <summary>False when the disk is full: the Hub then goes on accepting the one before.</summary>
    public async Task<bool> TryStoreAsync(byte[] token, CancellationToken cancel)
    {
        try
        {
            await DataFolder.WriteWholeAsync(FilePath, token, cancel);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>A new identity begins without one.</summary>
    public static void Forget(string folder) => File.Delete(Path.Combine(folder, "token"));
}
