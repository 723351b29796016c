using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.BtcPay;
using Capsul.Hub.Features.Payments.Stripe;
using Microsoft.AspNetCore.Http;

namespace Capsul.Tests.Features.Payments;

/// <summary>Signatures that others have published, as they are: we compute the same.</summary>
public sealed class SignatureVectorTests
{
    const string StripeSecret = "webhook_secret";

    const long StripeSeconds = 1533204620;

    const string StripeHeader = "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,"
        + "v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";

    /// <summary>
    /// The event, secret and header with which Stripe tests its own library: stripe/stripe-dotnet,
    /// src/StripeTests/Resources/event_test_signature.json and Services/Events/EventUtilityTest.cs.
    /// </summary>
    static readonly byte[] StripeBody = Encoding.UTF8.GetBytes("""
        {
          "id": "evt_123",
          "object": "event",
          "account": "acct_123",
          "api_version": "2017-05-25",
          "created": 1533204620,
          "data": {
            "object": {
              "id": "cus_123",
              "object": "customer",
              "created": 123456789,
              "email": "test@stripe.com",
              "livemode": false,
              "metadata": {}
            }
          },
          "livemode": false,
          "pending_webhooks": 1,
          "request": {
            "id": "req_123",
            "idempotency_key": "idempotency-key-123"
          },
          "type": "customer.created"
        }

        """.ReplaceLineEndings("\n"));

    static Problem? Check(
        string header, ReadOnlySpan<byte> body, string secret = StripeSecret, int secondsLater = 100) =>
        StripeSignature.Check(header, body, secret,
            DateTimeOffset.FromUnixTimeSeconds(StripeSeconds + secondsLater).UtcDateTime);

    [Fact]
    public void What_stripe_publishes_is_accepted_within_five_minutes_and_nothing_else()
    {
        Check(StripeHeader, StripeBody).ShouldBeNull();
        Check(StripeHeader, StripeBody, secondsLater: 300).ShouldBeNull();
        Check(StripeHeader, StripeBody, secondsLater: 400)!.Message.ShouldContain("too old");
        Check(StripeHeader, [.. StripeBody, (byte)' '])!.Message.ShouldContain("wrong");
        Check(StripeHeader, StripeBody, "whsec_other")!.Message.ShouldContain("wrong");
        StripeSignature.Make(StripeSecret, StripeSeconds, StripeBody).ShouldBe(StripeHeader.Split("v1=")[1][..64]);
    }

    /// <summary>Headers that Stripe's library is tested to refuse, and ones with more signatures than one.</summary>
    [Theory]
    [InlineData("t=,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7", false)]
    [InlineData("t,v1=,v0=", false), InlineData("t,v1=,v0", false), InlineData("t,v1=,", false)]
    [InlineData("t,,", false), InlineData(",,", false), InlineData("t", false)]
    [InlineData("t=1533204620,v0=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7", false)]
    [InlineData("t=1533204621,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7", false)]
    [InlineData("t=1533204620,v1=deadbeef,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7", true)]
    public void Headers_are_read_as_stripe_reads_them(string header, bool accepted) =>
        (Check(header, StripeBody) is null).ShouldBe(accepted);

    /// <summary>
    /// BTCPay Server signs as GitHub does, says its documentation of the Greenfield API (webhooks, secret); GitHub's
    /// (validating webhook deliveries, testing) has the first of these. The others are test cases 1, 2 and 4 of RFC
    /// 4231, whose keys are text.
    /// </summary>
    [Theory]
    [InlineData("It's a Secret to Everybody", "Hello, World!",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")]
    [InlineData("\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v\v", "Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")]
    [InlineData("Jefe", "what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")]
    [InlineData("\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u0009\u000a\u000b\u000c\u000d\u000e\u000f\u0010\u0011"
        + "\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019", null,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b")]
    public void What_is_published_for_btcpay_is_what_we_compute(string secret, string? body, string digest)
    {
        byte[] signed = body is null ? [.. Enumerable.Repeat((byte)0xcd, 50)] : Encoding.UTF8.GetBytes(body);
        BtcPayProvider.Sign(secret, signed).ShouldBe("sha256=" + digest);
    }

    /// <summary>The same vector is let in to where the body is read, and nothing near it is.</summary>
    [Theory]
    [InlineData("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", ProblemKind.Invalid)]
    [InlineData("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", ProblemKind.Forbidden)]
    [InlineData("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1", ProblemKind.Forbidden)]
    [InlineData("sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", ProblemKind.Forbidden)]
    [InlineData("", ProblemKind.Forbidden)]
    public void The_header_of_btcpay_is_read_as_it_is_documented(string header, ProblemKind kind)
    {
        using var client = new HttpClient();
        var provider = new BtcPayProvider(
            client, new Uri("http://127.0.0.1:9/"), "store", "key", "It's a Secret to Everybody");
        provider.Read(new HeaderDictionary { [BtcPayProvider.Header] = header }, "Hello, World!"u8, DateTime.UnixEpoch)
            .Problem!.Kind.ShouldBe(kind);
    }
}
