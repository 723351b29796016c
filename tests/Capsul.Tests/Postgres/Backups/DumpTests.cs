using System.IO.Compression;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres.Backups;

public sealed class DumpTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Is_gzipped_plain_sql()
    {
        await using var database = await TestDatabase.CreateAsync();
        var file = Path.Combine(TestFolder.Make("dump"), "a.gz");
        (await Dump.WritePlainAsync(null, database.Db.Address, file, Cancel)).ShouldBe(new FileInfo(file).Length);
        using var text = new StreamReader(new GZipStream(File.OpenRead(file), CompressionMode.Decompress));
        (await text.ReadToEndAsync(Cancel)).ShouldContain("COPY public.schemaversion (version) FROM stdin;");
        File.GetUnixFileMode(file).ShouldBe(UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    [Fact]
    public async Task Leaves_nothing_behind_when_it_fails()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var file = Path.Combine(TestFolder.Make("dump"), "a.gz");
        var error = await Should.ThrowAsync<ProblemException>(() =>
            Dump.WritePlainAsync(null, database.Db.Address.For("is_not_there"), file, Cancel));
        error.Problem.Message.ShouldContain("is_not_there");
        Directory.EnumerateFiles(Path.GetDirectoryName(file)!).ShouldBeEmpty();
    }

    [Fact]
    public async Task Of_two_concurrent_dumps_to_one_file_one_is_refused()
    {
        var file = Path.Combine(TestFolder.Make("dump"), "a.gz");
        await Dump.WriteWholeAsync(file, async (disk, cancel) =>
        {
            await disk.WriteAsync("first"u8.ToArray(), cancel);
            await disk.FlushAsync(cancel);
            await Should.ThrowAsync<ProblemException>(() =>
                Dump.WriteWholeAsync(file, (other, stop) => other.WriteAsync("second"u8.ToArray(), stop)
                .AsTask(), cancel));
        }, Cancel);
        (await File.ReadAllTextAsync(file, Cancel)).ShouldBe("first");
    }

    [Fact]
    public async Task Does_not_overwrite_another()
    {
        var file = Path.Combine(TestFolder.Make("dump"), "a.gz");
        await File.WriteAllTextAsync(file, "mine", Cancel);
        await Should.ThrowAsync<ProblemException>(() =>
            Dump.WritePlainAsync(null, DatabaseAddress.Of("Host=x"), file, Cancel));
        (await File.ReadAllTextAsync(file, Cancel)).ShouldBe("mine");
    }
}
