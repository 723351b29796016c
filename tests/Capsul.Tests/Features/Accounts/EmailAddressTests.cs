using Capsul.Hub.Features.Accounts;
using CsCheck;

namespace Capsul.Tests.Features.Accounts;

public sealed class EmailAddressTests
{
    [Theory]
    [InlineData(" Ada@Example.ORG ", "ada@example.org")]
    [InlineData("a.b+c@sub.example.org", "a.b+c@sub.example.org")]
    [InlineData("root@localhost", "root@localhost")]
    public void Keeps_addresses_in_lower_case(string text, string email) =>
        EmailAddress.Parse(text).OrThrow().ShouldBe(email);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("ada")]
    [InlineData("@example.org")]
    [InlineData("ada@")]
    [InlineData("ada@@example.org")]
    [InlineData("a da@example.org")]
    [InlineData("ada@example..org")]
    [InlineData("ada@-example.org")]
    [InlineData(".ada@example.org")]
    [InlineData("ada@exämple.org")]
    [InlineData("ada@example.org\r\nBcc: all@example.org")]
    [InlineData("<ada@example.org>")]
    [InlineData("ada@example.org,eve@example.org")]
    public void Refuses_an_invalid_address(string? text) => EmailAddress.Parse(text).Problem.ShouldNotBeNull();

    [Fact]
    public void Never_accepts_what_could_break_an_email_header() => Gen.String.Sample(text =>
    {
        var outcome = EmailAddress.Parse(text + "@example.org");
        return outcome.Value is null || (outcome.Value.All(c => c is > ' ' and < '\x7f')
            && EmailAddress.Parse(outcome.Value).Value == outcome.Value);
    });
}
