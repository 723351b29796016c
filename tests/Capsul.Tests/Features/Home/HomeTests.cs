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
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES
                ('f1-xs', @now, 6.25, @now), ('f1-xs', @now + interval '9 days', 8.75, @now),
                ('f1-xxl', @now + interval '9 days', 87.65, @now);
            UPDATE sizes SET retired = TRUE WHERE id = 'f1-xxl'
            """, new { now = hub.Now }, Cancel);
        using var visitor = hub.Visit();
        var page = await visitor.ReadAsync("/", Cancel);
        page.ShouldContain("<strong>$6.25</strong>");
        page.ShouldContain("<strong>f1-xs</strong> costs $8.75 a month from");
        page.ShouldContain("10 Mar 2026, 12:00 UTC");
        page.ShouldNotContain("87.65");
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
