using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Home;

public sealed class HomeTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_home_page_shows_prices_and_images_from_the_tables()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("UPDATE sizes SET dollars_per_month = 6.25 WHERE id = 'f1-xs'; UPDATE sizes "
            + "SET retired = TRUE WHERE id = 'f1-xxl'", null, Cancel);
        using var visitor = hub.Visit();
        var page = await visitor.ReadAsync("/", Cancel);
        page.ShouldContain("$6.25");
        page.ShouldNotContain("f1-xxl");
        page.ShouldContain("Debian 12 (bookworm)");
    }

    [Fact]
    public async Task Support_shows_the_address_from_the_settings()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_SUPPORT_EMAIL", "help@example.org"));
        using var visitor = hub.Visit();
        (await visitor.ReadAsync("/support", Cancel)).ShouldContain("mailto:help@example.org");
        (await visitor.ReadAsync("/about-ssh", Cancel)).ShouldContain("ssh-keygen -lf");
    }

    [Theory]
    [InlineData("production", null)]
    [InlineData("development", "mail.example.org")]
    public async Task Emails_are_shown_only_in_development_without_a_server(string environment, string? smtp)
    {
        await using var hub =
            await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", environment), ("CAPSUL_SMTP_HOST", smtp));
        using var visitor = hub.Visit();
        (await visitor.GetAsync("/development/mails", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }
}
