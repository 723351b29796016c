using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Spoke.Images;

namespace Capsul.Tests.Spoke.Images;

public sealed class ImageImportTests : IDisposable
{
    static readonly CancellationToken None = CancellationToken.None;

    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
    readonly HttpClient client = new(new SocketsHttpHandler { AllowAutoRedirect = false });
    readonly ImageStore store;

    public ImageImportTests() => store = new ImageStore(Path.Combine(folder, "images"));

    public void Dispose()
    {
        client.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    [Theory]
    [InlineData("qcow2"), InlineData("raw")]
    public async Task A_valid_image_is_imported(string format)
    {
        var file = await MakeAsync(format, "-f", format);
        var image = await ImportAsync(file);
        store.Current("mine").ShouldBe(image);
        (await new Command("qemu-img", "info", store.Disk(image)).RunAsync(None))
            .Output.ShouldContain("file format: qcow2");
        Directory.GetDirectories(store.Folder, ".tmp-*").ShouldBeEmpty();
    }

    [Fact]
    public async Task A_wrong_checksum_is_refused_with_both_sums()
    {
        var file = await MakeAsync("a", "-f", "qcow2");
        var wrong = new string('a', 64);
        var refused = await Should.ThrowAsync<ProblemException>(() => ImportAsync(file, wrong));
        refused.Message.ShouldBe($"The checksum does not match: expected {wrong}, but the file has {Sum(file)}.");
        store.List().ShouldBeEmpty();
        Directory.GetFileSystemEntries(store.Folder).ShouldBeEmpty();
    }

    [Fact]
    public async Task An_image_with_a_backing_file_is_refused()
    {
        var secret = await MakeAsync("secret", "-f", "raw");
        var file = await MakeAsync("b", "-f", "qcow2", "-b", secret, "-F", "raw");
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file))).Message.ShouldContain("backing file");
    }

    [Fact]
    public async Task An_image_with_an_external_data_file_is_refused()
    {
        var file = await MakeAsync("c", "-f", "qcow2", "-o", $"data_file={Path.Combine(folder, "secret.raw")}");
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file)))
            .Message.ShouldContain("external data file");
    }

    [Fact]
    public async Task A_format_other_than_qcow2_and_raw_is_refused()
    {
        var file = await MakeAsync("d", "-f", "vmdk");
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file))).Message.ShouldContain("vmdk");
    }

    [Theory]
    [InlineData("gzip", "1f8b0800"), InlineData("xz", "fd377a585a00"),
        InlineData("zip", "504b0304"), InlineData("boot sector", "48656c6c6f")]
    public async Task A_file_that_is_not_a_disk_is_refused_with_what_it_is(string what, string begins)
    {
        var file = Path.Combine(folder, "other");
        await File.WriteAllBytesAsync(file, [.. Convert.FromHexString(begins), .. new byte[2000]], None);
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file))).Message.ShouldContain(what);
    }

    [Fact]
    public async Task A_disk_that_claims_to_be_huge_is_refused()
    {
        var file = Path.Combine(folder, "huge");
        await new Command("qemu-img", "create", "-q", "-f", "qcow2", file, "60T").RunAsync(None);
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file)))
            .Message.ShouldContain("the limit is 1024 GiB");
    }

    [Fact]
    public async Task A_file_over_the_limit_is_refused()
    {
        var file = await MakeAsync("e", "-f", "raw");
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(file, maxBytes: 1 << 20))).Message.ShouldBe(
            "The image is larger than 1 MiB, the limit.");
    }

    [Fact]
    public async Task A_missing_file_is_not_found() =>
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync(
            Path.Combine(folder, "none"), new string('a', 64)))).Problem.Kind.ShouldBe(ProblemKind.NotFound);

    [Fact]
    public async Task A_checksum_is_required() =>
        (await Should.ThrowAsync<ProblemException>(() => ImportAsync("x", ""))).Problem.Kind.ShouldBe(
            ProblemKind.Invalid);

    async Task<string> MakeAsync(string name, params string[] options)
    {
        var file = Path.Combine(folder, name + ".img");
        await new Command("qemu-img",
            ["create", "-q", .. options, file, .. options.Contains("-b") ? (string[])[] : ["8M"]]).RunAsync(None);
        if (options.Contains("raw") && !options.Contains("-b"))
        {
            await using var disk = File.OpenWrite(file);
            disk.Position = 510;
            await disk.WriteAsync(new byte[] { 0x55, 0xaa });
        }
        return file;
    }

    Task<Image> ImportAsync(string file, string? sum = null, long maxBytes = 1 << 30) =>
        new ImageImport(store, client, maxBytes)
            .ImportAsync(new ImageSource(file, sum ?? Sum(file), "mine", "Mine", "me", 1, 128), _ => { }, None);

    static string Sum(string file) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file)));
}
