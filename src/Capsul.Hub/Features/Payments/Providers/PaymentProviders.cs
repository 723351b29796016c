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

    /// <summary>All that this program knows, in the order in which they are offered: a folder each.</summary>
    public static readonly IReadOnlyList<ProviderKind> Known = [StripeProvider.Kind, BtcPayProvider.Kind];

    readonly Lazy<HttpClient> client = new(() => new HttpClient(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
    })
    { Timeout = CallTimeout, MaxResponseContentBufferSize = MaxAnswerBytes });

    IReadOnlyList<IPaymentProvider>? all;

    /// <summary>In the order in which they are offered.</summary>
    public IReadOnlyList<IPaymentProvider> All =>
        all ??= [.. Known.Select(k => k.Make(settings, () => client.Value)).OfType<IPaymentProvider>()];

    /// <summary>Null: it is no provider.</summary>
    public static ProviderKind? KindOf(string name) => Known.FirstOrDefault(k => k.Name == name);

    public IPaymentProvider? Find(string name) => All.FirstOrDefault(p => p.Name == name);

    /// <summary>Names of those that can keep a card and charge it later.</summary>
    public IReadOnlyList<string> SavingCards => [.. All.Where(p => p is ISavedCards).Select(p => p.Name)];

    /// <summary>Where whoever pays comes back to, from how it is kept.</summary>
    public string ReturnOf(string returnTo) => seal?.Open(returnTo) ?? returnTo;

    public void Dispose()
    {
        if (client.IsValueCreated) client.Value.Dispose();
    }
}
