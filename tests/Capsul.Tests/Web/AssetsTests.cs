using Capsul.Hub.Web;
using Capsul.Tests.Support;

namespace Capsul.Tests.Web;

public sealed class AssetsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("capsul.css", "text/css")]
    [InlineData("live.js", "text/javascript")]
    [InlineData("favicon.svg", "image/svg+xml")]
    public async Task A_file_under_its_hash_may_be_cached_forever(string name, string type)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using var answer = await visitor.GetAsync(Assets.Url(name), Cancel);
        answer.EnsureSuccessStatusCode();
        answer.Content.Headers.ContentType!.MediaType.ShouldBe(type);
        answer.Headers.CacheControl!.ToString().ShouldContain("immutable");
        using var older = await visitor.GetAsync($"/assets/0000000000000000/{name}", Cancel);
        older.EnsureSuccessStatusCode();
        older.Headers.CacheControl!.NoStore.ShouldBeTrue();
    }

    [Fact]
    public async Task A_missing_file_returns_not_found()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        (await visitor.GetAsync("/assets/x/../../migrations/01_up_foundations.sql", Cancel).ReadAsync(Cancel))
            .Status.ShouldBe(404);
        (await visitor.GetAsync("/assets/x/nothing.css", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        Should.Throw<KeyNotFoundException>(() => Assets.Url("nothing.css"));
    }
}
