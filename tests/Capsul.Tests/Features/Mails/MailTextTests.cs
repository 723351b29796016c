using Capsul.Foundation;
using Capsul.Hub.Features.Mails;

namespace Capsul.Tests.Features.Mails;

public sealed class MailTextTests
{
    public static TheoryData<string> Names => new(MailText.Names);

    static Settings SettingsOf(string site) => Settings.Load(new Dictionary<string, string>
    {
        ["CAPSUL_DATA"] = "/tmp/capsul-none",
        ["CAPSUL_SITE_NAME"] = site,
        ["CAPSUL_BASE_URL"] = "https://vms.example.org",
    });

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_email_is_written_in_the_name_of_the_installation(string name)
    {
        var mail = PreviewMail.Write(name, SettingsOf("Meadow & Co"), TimeProvider.System);
        mail.Subject.ShouldContain("Meadow & Co");
        mail.Body.ShouldContain("https://vms.example.org/");
        (mail.Subject + mail.Body).ShouldNotContain("{");
        mail.Body.ShouldStartWith("Hello,\n\n");
        mail.Body.ShouldNotContain("\n\n\n");
        var html = MailHtml.Write(mail.Subject, mail.Body);
        html.ShouldContain("<title>" + mail.Subject.Replace("&", "&amp;", StringComparison.Ordinal));
        html.ShouldContain("<a href=\"https://vms.example.org/");
    }

    [Fact]
    public void The_html_part_is_text_and_links_only()
    {
        var html = MailHtml.Write(
            "a <b>", "See https://x.example/a?b=1&c=\"2\" <script>.\nSecond.\n\nhttps://y.example.");
        html.ShouldContain("<title>a &lt;b&gt;</title>");
        html.ShouldContain("<a href=\"https://x.example/a?b=1&amp;c=\">https://x.example/a?b=1&amp;c=</a>");
        html.ShouldContain("&lt;script&gt;.<br>\nSecond.");
        html.ShouldContain("<a href=\"https://y.example\">https://y.example</a>.");
        html.ShouldNotContain("<script");
    }

    [Fact]
    public void Every_template_of_the_table_exists() =>
        MailText.Names.ShouldBe(["approved", "balance_alert", "closing", "deleted", "last_notice", "low_balance",
            "price_rise", "price_withdrawn", "refund", "sign_in", "stopped", "top_up_failed", "top_up_off", "traffic",
            "usage_alert", "used_up"]);
}
