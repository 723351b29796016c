using Capsul.Spoke.Images;

namespace Capsul.Tests.Spoke.Images;

/// <summary>Tests of the recipe that do not build the image; World/DebianTests boots the result.</summary>
public sealed class DebianImageTests
{
    [Fact]
    public void All_suites_of_bookworm_use_this_machines_mirrors() =>
        DebianImage.Sources("http://mirror/debian/ bookworm\nhttp://mirror/debian/ bookworm\n"
            + "http://mirror/sec/ bookworm-security\nhttps://other/ nodistro\n")
            .ShouldBe(["deb http://mirror/debian/ bookworm main", "deb http://mirror/sec/ bookworm-security main"]);

    [Fact]
    public void A_machine_without_bookworm_has_no_sources() =>
        DebianImage.Sources("http://mirror/debian/ trixie\n").ShouldBeEmpty();

    [Fact]
    public void The_boot_sector_names_one_bootable_linux_partition()
    {
        var sector = DebianImage.BootSector(new byte[512], 2048, 4096);
        sector[446..462].ShouldBe<byte>([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[510..].ShouldBe<byte>([0x55, 0xaa]);
    }
}
