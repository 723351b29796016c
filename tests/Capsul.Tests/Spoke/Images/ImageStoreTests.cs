using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Spoke.Images;

namespace Capsul.Tests.Spoke.Images;

public sealed class ImageStoreTests : IDisposable
{
    static readonly CancellationToken None = CancellationToken.None;

    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
    readonly ImageStore store;

    public ImageStoreTests() => store = new ImageStore(Path.Combine(folder, "images"));

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void An_empty_store_has_no_images() => store.List().ShouldBeEmpty();

    [Fact]
    public async Task An_added_image_is_current_and_read_only()
    {
        var image = await AddAsync("disk one");
        store.List().ShouldBe([image]);
        store.Find("tiny", image.Sha256).ShouldBe(image);
        File.GetUnixFileMode(store.Disk(image)).ShouldBe((UnixFileMode)0b100_100_100);
        (await store.VerifyAsync(image, None)).ShouldBeTrue();
        Directory.GetDirectories(store.Folder, ".tmp-*").ShouldBeEmpty();
    }

    [Fact]
    public async Task The_checksum_is_that_of_the_list_of_checksums()
    {
        var image = await AddAsync("disk one");
        var disk = Convert.ToHexStringLower(SHA256.HashData("disk one"u8));
        image.Sha256.ShouldBe(
            Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{disk}  disk.qcow2\n"))));
    }

    [Fact]
    public async Task A_new_version_keeps_the_old_one_for_the_disks_based_on_it()
    {
        var old = await AddAsync("disk one");
        var now = await AddAsync("disk two");
        store.Current("tiny").ShouldBe(now);
        store.Find("tiny", old.Sha256).ShouldBe(old);
        File.ReadAllText(store.Disk(old)).ShouldBe("disk one");
        (await AddAsync("disk two")).ShouldBe(now);
    }

    [Fact]
    public async Task A_changed_file_is_noticed_even_after_it_was_verified()
    {
        var image = await AddAsync("disk one");
        (await store.VerifyAsync(image, None)).ShouldBeTrue();
        File.SetUnixFileMode(store.Disk(image), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await File.WriteAllTextAsync(store.Disk(image), "disk 0ne and more", None);
        (await store.VerifyAsync(image, None)).ShouldBeFalse();
    }

    [Theory]
    [InlineData("../tiny"), InlineData(""), InlineData(".hidden"), InlineData("Tiny"), InlineData("a/b")]
    public async Task An_id_that_is_not_a_plain_name_is_refused(string id)
    {
        (await Should.ThrowAsync<ProblemException>(() => AddAsync("disk", id))).Problem.Kind.ShouldBe(
            ProblemKind.Invalid);
        store.Current(id).ShouldBeNull();
    }

    async Task<Image> AddAsync(string disk, string id = "tiny")
    {
        var files = store.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), disk, None);
        return await store.AddAsync(new Image(id, "Tiny", "", "capsul", 1, 128), files, None);
    }
}
