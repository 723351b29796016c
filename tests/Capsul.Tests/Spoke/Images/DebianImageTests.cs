using Capsul.Spoke.Images;

namespace Capsul.Tests.Spoke.Images;

/// <summary>
/// What can be said of the recipe without building; that the result boots is proven in World/DebianTests.
/// </summary>
public sealed class DebianImageTests
{
    [Fact]
    public void All_parts_of_bookworm_are_taken_from_where_this_machine_gets_them() =>
        DebianImage.Sources("http://mirror/debian/ bookworm\nhttp://mirror/debian/ bookworm\n"
            + "http://mirror/sec/ bookworm-security\nhttps://other/ nodistro\n")
            .ShouldBe(["deb http://mirror/debian/ bookworm main", "deb http://mirror/sec/ bookworm-security main"]);

    [Fact]
    public void A_machine_without_bookworm_has_no_sources_to_offer() =>
        DebianImage.Sources("http://mirror/debian/ trixie\n").ShouldBeEmpty();

    [Fact]
    public void The_boot_sector_names_one_bootable_linux_partition()
    {
        var sector = DebianImage.BootSector(new byte[512], 2048, 4096);
        sector[446..462].ShouldBe<byte>([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[510..].ShouldBe<byte>([0x55, 0xaa]);
    }
}
