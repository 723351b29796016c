using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Foundation;

public sealed class SettingsTests
{
    static Settings Load(params (string Name, string Value)[] values) =>
        Settings.Load(values.Append(("CAPSUL_DATA", "/tmp/capsul-none"))
            .ToDictionary(v => v.Item1, v => v.Item2, StringComparer.Ordinal));

    [Fact]
    public void An_unknown_name_is_refused_with_a_suggestion() =>
        Should.Throw<ProblemException>(() => Load(("CAPSUL_PROT", "1"))).Problem.Message.ShouldBe(
            "CAPSUL_PROT in the environment is not a Capsul setting. Did you mean CAPSUL_PORT?");

    [Theory]
    [InlineData("CAPSUL_PORT", "x"), InlineData("CAPSUL_PORT", "65536"),
        InlineData("CAPSUL_LISTEN", "localhost"), InlineData("CAPSUL_ENVIRONMENT", "prod")]
    [InlineData("CAPSUL_VM_NETWORK", "10.0.0.0/8"), InlineData("CAPSUL_RELAY_PORTS", "9-1"),
        InlineData("CAPSUL_BASE_URL", "ftp://x"), InlineData("CAPSUL_KVM", "maybe")]
    public void An_invalid_value_is_refused_by_name(string name, string value) =>
        Should.Throw<ProblemException>(() => Load((name, value))).Problem.Message.ShouldStartWith($"{name} must be ");

    /// <summary>Because what is not set is not checked.</summary>
    [Fact]
    public void Every_default_may_also_be_set()
    {
        foreach (var setting in Settings.All.Where(s => s.Default is not null)) Load((setting.Name, setting.Default!));
    }

    [Theory]
    [InlineData("0.0.0.0"), InlineData("::")]
    public void A_relay_on_every_address_needs_a_name_for_people(string address) =>
        Should.Throw<ProblemException>(() => Load(("CAPSUL_RELAY_ADDRESS", address))).Problem.Message
            .ShouldStartWith("CAPSUL_SSH_HOST must be ");

    [Fact]
    public void An_invalid_secret_is_not_printed() =>
        Should.Throw<ProblemException>(
            () => Load(("CAPSUL_SECRET_KEY", "hunter2"))).Problem.Message.ShouldNotContain("hunter2");

    [Fact]
    public void The_environment_wins_over_the_file_and_blank_is_unset()
    {
        var folder = TestFolder.Make("settings");
        File.WriteAllText(Path.Combine(folder, "capsul.conf"),
            "# a comment\nCAPSUL_PORT=9001\nCAPSUL_LINK_PORT = \"9002\"\n");
        var settings = Settings.Load(new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_PORT"] = "9003",
            ["CAPSUL_LINK_PORT"] = " ",
        });
        (settings.Port, settings.LinkPort).ShouldBe((9003, 9002));
    }

    [Fact]
    public void A_secret_may_be_in_a_file()
    {
        var file = Path.Combine(TestFolder.Make("secret"), "password");
        File.WriteAllText(file, "s3cret\n");
        Load(("CAPSUL_SMTP_PASSWORD_FILE", file)).SmtpPassword.ShouldBe("s3cret");
        Should.Throw<ProblemException>(() => Load(("CAPSUL_SMTP_PASSWORD_FILE",
            "/nowhere"))).Problem.Message.ShouldContain("names /nowhere, which cannot be read");
    }
}
