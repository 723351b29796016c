using Capsul.Foundation;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Asking for a mailed link.</summary>
public static class SignIn
{
    /// <summary>How long a link works.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(20);

    /// <summary>The span over which requests are counted.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromHours(1);

    public const int MaxLiveForAddress = 3, MaxRecentForAddress = 10, MaxRecentForIp = 20;

    /// <summary>What the rows say about an address and an IP: links that could still be used, and links asked for within <see cref="Window"/>.</summary>
    public sealed record Facts(DateTime Now, SignInSql.Counted Links);

    public sealed record Plan(string Email, DateTime Expires);

    /// <summary>Whether to mail a link. The answer is the same whether the account exists or not; it is made at first use.</summary>
    public static Outcome<Plan> Decide(Facts facts, string email) => facts switch
    {
        { Links.LiveForAddress: >= MaxLiveForAddress } => new Problem(ProblemKind.RateLimited,
            $"There are already {MaxLiveForAddress} mails with a link that still works. Use one of those; a link works for {Lifetime.TotalMinutes:0} minutes."),
        { Links.RecentForAddress: >= MaxRecentForAddress } => new Problem(ProblemKind.RateLimited,
            "Too many links were sent to this address within an hour. Wait a while and try again."),
        { Links.RecentForIp: >= MaxRecentForIp } => new Problem(ProblemKind.RateLimited,
            "Too many links were asked for from your network within an hour. Wait a while and try again."),
        _ => new Plan(email, facts.Now + Lifetime),
    };
}
