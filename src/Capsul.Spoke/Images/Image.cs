using System.Text.Json.Serialization;

namespace Capsul.Spoke.Images;

/// <summary>
/// One version of an image. Stored as <c>images/ID/VERSION/</c> with <c>image.json</c> (this record) and
/// <c>disk.qcow2</c>, and for direct kernel boot <c>kernel</c> and <c>initrd</c>. VERSION is the first 16 digits of the
/// checksum; a new version never touches an old one, because disks of VMs are based on it.
/// </summary>
/// <param name="Id">Name in the catalog: <c>tiny</c>, <c>debian-12</c>.</param>
/// <param name="Title">For people: "Debian 12 (bookworm)".</param>
/// <param name="Sha256">Over all files of the version, lower-case hex.</param>
/// <param name="LoginUser">The user who gets the SSH keys.</param>
/// <param name="MinDiskGb">Minimum disk size, GiB.</param>
/// <param name="MinMemoryMb">Minimum memory, MiB.</param>
/// <param name="CommandLine">Kernel command line, for images with direct kernel boot.</param>
/// <param name="Recipe">Which version of Capsul's own files it was built from; null if that does not matter.</param>
public sealed record Image(
    string Id, string Title, string Sha256, string LoginUser,
    int MinDiskGb, int MinMemoryMb, string? CommandLine = null, string? Recipe = null)
{
    [JsonIgnore] public string Version => Sha256[..16];
}
