using Capsul.Foundation;
using Capsul.Hub.Features.Payments.BtcPay;
using Capsul.Hub.Features.Payments.Stripe;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>The providers that are configured.</summary>
/// <param name="seal">Null where no payment is begun, as on the command line.</param>
public sealed class PaymentProviders(Settings settings, ReturnSeal? seal = null) : IDisposable
{
    /// <summary>For one call to a provider. A page never waits for one.</summary>
    static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(15);

    /// <summary>BTCPay Server lists all pull payments of a store in one answer.</summary>
    const int MaxAnswerBytes = 16 << 20;

    readonly Lazy<HttpClient> client = new(() => new HttpClient(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
    })
    { Timeout = CallTimeout, MaxResponseContentBufferSize = MaxAnswerBytes });

    IReadOnlyList<IPaymentProvider>? all;

    /// <summary>In the order in which they are offered.</summary>
    public IReadOnlyList<IPaymentProvider> All => all ??= [.. Configured()];

    public IPaymentProvider? Find(string name) => All.FirstOrDefault(p => p.Name == name);

    /// <summary>Names of those that can keep a card and charge it later.</summary>
    public IReadOnlyList<string> SavingCards => [.. All.Where(p => p is ISavedCards).Select(p => p.Name)];

    /// <summary>Where whoever pays comes back to, from how it is kept.</summary>
    public string ReturnOf(string returnTo) => seal?.Open(returnTo) ?? returnTo;

    IEnumerable<IPaymentProvider> Configured()
    {
        if (settings.StripeSecretKey is { } key)
            yield return new StripeProvider(client.Value, settings.StripeApi, key, settings.StripeWebhookSecret);
        if (settings.BtcPay is { } pay)
            yield return new BtcPayProvider(client.Value, pay.Url, pay.Store, pay.Key, settings.BtcPayWebhookSecret);
    }

    public void Dispose()
    {
        if (client.IsValueCreated) client.Value.Dispose();
    }
}
