namespace Capsul.Hub.Features.Payments;

/// <summary>The words for <c>payments.method</c>.</summary>
public static class PaymentMethod
{
    public static string Say(string method) => method switch
    {
        "play" => "play money",
        "opening" => "balance carried over",
        "solidarity" => "solidarity fund",
        "trial" => "trial credit",
        "write_off" => "written off",
        _ => method,
    };

    /// <summary>
    /// There are receipts for what somebody has paid here: not for vouchers, gifts, and what was carried over.
    /// </summary>
    public static bool HasReceipt(string method, decimal dollars) =>
        dollars > 0 && method is not ("opening" or "solidarity" or "voucher" or "trial" or "write_off");
}
