using Capsul.Foundation;

namespace Capsul.Tests.Foundation;

public sealed class DataFolderTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public async Task What_a_killed_process_left_half_written_is_removed_by_the_next_one()
    {
        var vms = Directory.CreateDirectory(Path.Combine(folder, "spoke", "vms")).FullName;
        var record = Path.Combine(vms, "capsul-hf4lkqag5v.record");
        await DataFolder.WriteWholeAsync(record, [1], TestContext.Current.CancellationToken);
        var unfinished = record + ".1a8ba95c.new";
        var somebodyElses = Path.Combine(vms, "notes.new");
        var hubs = Path.Combine(Directory.CreateDirectory(Path.Combine(folder, "hub")).FullName,
            "recovery.json.1a8ba95c.new");
        foreach (var file in (string[])[unfinished, somebodyElses, hubs]) File.WriteAllBytes(file, [2]);

        using var taken = DataFolder.Take(folder, "spoke");

        File.Exists(unfinished).ShouldBeFalse("it belongs to nobody any more");
        File.ReadAllBytes(record).ShouldBe([1]);
        File.Exists(somebodyElses).ShouldBeTrue("it is not a file of this kind");
        File.Exists(hubs).ShouldBeTrue("a Hub may be writing it just now");
    }
}
