using Capsul.Hub.Features.SshKeys;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.SshKeys;

public sealed class AddSshKeyTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("laptop", "ada@engine", "laptop")]
    [InlineData("  ", "ada@engine", "ada@engine")]
    [InlineData(null, "", "ssh-ed25519")]
    [InlineData(null, "a\u202Eb", "ab")]
    public void The_name_defaults_to_the_comment_or_the_type(string? name, string comment, string expected) =>
        AddSshKey.Decide(new AddSshKey.Facts(0), new AddSshKey.Input(name, Sample.Ed25519(comment)))
            .OrThrow().Name.ShouldBe(expected);

    [Fact]
    public void A_long_comment_is_truncated() =>
        AddSshKey.Decide(new AddSshKey.Facts(0), new AddSshKey.Input(null, Sample.Ed25519(new string('x', 200))))
            .OrThrow().Name.Length.ShouldBe(64);

    [Fact]
    public void A_name_with_invisible_characters_is_refused() =>
        AddSshKey.Decide(new AddSshKey.Facts(0),
            new AddSshKey.Input("a\u202Eb", Sample.Ed25519())).Problem!.Message.ShouldContain("invisible character");

    [Fact]
    public void The_number_of_keys_is_limited() =>
        AddSshKey.Decide(new AddSshKey.Facts(AddSshKey.MaxKeys),
            new AddSshKey.Input(null, Sample.Ed25519())).Problem!.Message.ShouldContain("Remove one first");

    [Fact]
    public async Task A_key_is_added_shown_and_removed()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var text = Sample.Ed25519("my laptop");
        var page = (await visitor.PostAsync("/keys", Cancel, ("Key", text), ("Name", "")).ReadAsync(Cancel)).Page;
        page.ShouldContain("my laptop");
        page.ShouldContain(SshKey.Parse(text).OrThrow().Fingerprint);

        (await visitor.ReadAsync("/keys/1/remove", Cancel)).ShouldContain("Remove this key?");
        (await visitor.PostAsync("/keys/1/remove", Cancel).ReadAsync(Cancel)).Page.ShouldContain("No keys yet");
        (await visitor.PostAsync("/keys", "/keys/1/remove", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }

    [Fact]
    public async Task A_duplicate_key_or_name_is_refused_with_a_message()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var text = Sample.Ed25519("one");
        using (await visitor.PostAsync("/keys", Cancel, ("Key", text), ("Name", ""))) { }
        var same = await visitor.PostAsync("/keys", Cancel, ("Key", text), ("Name", "two")).ReadAsync(Cancel);
        same.Status.ShouldBe(409);
        same.Page.ShouldContain("already added this key");
        (await visitor.PostAsync("/keys", Cancel, ("Key", Sample.Ed25519()), ("Name", "one")).ReadAsync(Cancel))
            .Page.ShouldContain("already have a key with that name");
    }

    [Fact]
    public async Task A_private_key_is_refused_and_not_shown_again()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var answer = await visitor.PostAsync("/keys", Cancel,
            ("Key", "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"), ("Name", ""))
            .ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("treat it as leaked");
        answer.Page.ShouldNotContain("c2VjcmV0");
    }
}
