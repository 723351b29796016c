using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Tests.Support;

namespace Capsul.Tests.Storage;

public sealed class KeyRingTests : IAsyncLifetime
{
    readonly byte[] key = RandomNumberGenerator.GetBytes(32);
    TestDatabase database = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    KeyRing Ring => new(database.Db, key);

    public async ValueTask InitializeAsync() => database = await TestDatabase.CreateAsync();

    public ValueTask DisposeAsync() => database.DisposeAsync();

    [Fact]
    public async Task What_is_written_is_read_and_may_be_replaced()
    {
        (await Ring.ReadAsync("a/1", Cancel)).ShouldBeNull();
        await Ring.WriteAsync("a/1", "first"u8.ToArray(), Cancel);
        await Ring.WriteAsync("a/1", "second"u8.ToArray(), Cancel);
        Ring.Write("a/2", []);
        await Ring.WriteAsync("b/1", "other"u8.ToArray(), Cancel);
        (await Ring.ReadAsync("a/1", Cancel)).ShouldBe("second"u8.ToArray());
        (await Ring.ListAsync("a/", Cancel)).Select(e => e.Name).ShouldBe(["a/1", "a/2"]);
        Ring.List("a/").Select(e => e.Content.Length).ShouldBe([6, 0]);
    }

    [Fact]
    public async Task The_table_reveals_nothing_of_the_secret_and_no_two_writes_are_equal()
    {
        await Ring.WriteAsync("a", "the secret itself"u8.ToArray(), Cancel);
        var first = await database.Db.FindAsync<byte[]>("SELECT content FROM key_ring", null, Cancel);
        await Ring.WriteAsync("a", "the secret itself"u8.ToArray(), Cancel);
        var second = await database.Db.FindAsync<byte[]>("SELECT content FROM key_ring", null, Cancel);
        Encoding.Latin1.GetString(first!).ShouldNotContain("secret");
        second.ShouldNotBe(first);
    }

    [Fact]
    public async Task Another_key_or_a_moved_or_changed_row_is_refused_with_a_message()
    {
        await Ring.WriteAsync("a", "x"u8.ToArray(), Cancel);
        var other = new KeyRing(database.Db, RandomNumberGenerator.GetBytes(32));
        (await Should.ThrowAsync<ProblemException>(() => other.ReadAsync("a", Cancel)))
            .Message.ShouldContain("CAPSUL_SECRET_KEY");
        await database.Db.ExecuteAsync("UPDATE key_ring SET name = 'b'", null, Cancel);
        await Should.ThrowAsync<ProblemException>(() => Ring.ReadAsync("b", Cancel));
        await database.Db.ExecuteAsync(
            "UPDATE key_ring SET name = 'a', content = substring(content, 1, 10)", null, Cancel);
        await Should.ThrowAsync<ProblemException>(() => Ring.ReadAsync("a", Cancel));
    }
}
