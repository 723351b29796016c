using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>
/// What the folder of a provider tells the rest of the program, also where the provider is not configured. All of them
/// are in <see cref="PaymentProviders.Known"/>.
/// </summary>
/// <param name="Name">As in <c>payments.method</c>, in the ledger and in the path of its webhook.</param>
/// <param name="Company">As people call it.</param>
/// <param name="KeySetting">The setting that is wrong when it refuses us.</param>
/// <param name="TellsRefunds">Whatever is sent back there, by anybody, is in the state of its payment.</param>
/// <param name="Make">Null: it is not configured.</param>
public sealed record ProviderKind(string Name, string Company, string KeySetting, bool TellsRefunds,
    Func<Settings, Func<HttpClient>, IPaymentProvider?> Make);
