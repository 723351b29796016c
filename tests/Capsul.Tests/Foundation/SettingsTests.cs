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

    [Theory]
    [InlineData("CAPSUL_BRIDGE", "br0;id"), InlineData("CAPSUL_BRIDGE", "-br0"), InlineData("CAPSUL_BRIDGE", "../br0"),
        InlineData("CAPSUL_BRIDGE", "sixteencharacter")]
    [InlineData("CAPSUL_VM_GATEWAY", "198.51.100.1"), InlineData("CAPSUL_VM_GATEWAY", "192.0.2.0"),
        InlineData("CAPSUL_VM_GATEWAY", "2001:db8::1")]
    [InlineData("CAPSUL_VM_RANGE", "192.0.2.64"), InlineData("CAPSUL_VM_RANGE", "192.0.2.95-192.0.2.64"),
        InlineData("CAPSUL_VM_RANGE", "192.0.2.64-192.0.2.64"), InlineData("CAPSUL_VM_RANGE", "192.0.2.9-192.0.2.255"),
        InlineData("CAPSUL_VM_RANGE", "192.0.1.64-192.0.2.95"), InlineData("CAPSUL_VM_RANGE", "192.0.2.1-192.0.2.9"),
        InlineData("CAPSUL_VM_RANGE", "192.0.2.064-192.0.2.95")]
    [InlineData("CAPSUL_VM_NETWORK6", "2001:db8:7::/48")]
    public void In_bridged_mode_a_wrong_value_is_refused_by_name(string name, string value)
    {
        var settings = Load(Bridged);
        (settings.VmNetwork6, settings.RoutedNetworks.Count()).ShouldBe((null, 0));
        Should.Throw<ProblemException>(() => settings.With((name, value))).Problem.Message
            .ShouldStartWith($"{name} must be ");
    }

    [Fact]
    public void In_bridged_mode_all_of_it_must_be_set()
    {
        foreach (var (name, _) in Bridged[1..])
            Should.Throw<ProblemException>(() => Load(Bridged).With((name, null))).Problem.Message
                .ShouldStartWith("CAPSUL_NETWORK must be set together with ");
    }

    static readonly (string, string)[] Bridged =
    [
        ("CAPSUL_NETWORK", "bridged"), ("CAPSUL_BRIDGE", "br0"), ("CAPSUL_VM_NETWORK", "192.0.2.0/24"),
        ("CAPSUL_VM_RANGE", "192.0.2.64-192.0.2.95"), ("CAPSUL_VM_GATEWAY", "192.0.2.1"),
    ];

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
