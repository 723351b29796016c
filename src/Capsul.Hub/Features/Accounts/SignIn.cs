using Capsul.Foundation;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Asking for a mailed link.</summary>
public static class SignIn
{
    /// <summary>How long a link works.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(20);

    /// <summary>The span over which requests are counted.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromHours(1);

    public const int MaxLiveForAddress = 3, MaxRecentForAddress = 10, MaxRecentForIp = 20, MaxRecentForSite = 60;

    /// <summary>For everybody together: what a flood may make of our mail server's good name.</summary>
    public const int MaxRecent = 2000;

    /// <summary>
    /// What the rows say about an address and an IP: links that could still be used, and links asked for within <see
    /// cref="Window"/>.
    /// </summary>
    public sealed record Facts(DateTime Now, AskedLinksRow Links);

    public sealed record Plan(string Email, DateTime Expires);

    /// <summary>
    /// Whether to mail a link. The answer is the same whether the account exists or not; it is made at first use.
    /// </summary>
    public static Outcome<Plan> Decide(Facts facts, string email) => facts switch
    {
        { Links.LiveForAddress: >= MaxLiveForAddress } => new Problem(ProblemKind.RateLimited,
            $"We have already sent {MaxLiveForAddress} links to this address that still work. Use one of those; a link "
            + $"works for {Lifetime.TotalMinutes:0} minutes."),
        { Links.RecentForAddress: >= MaxRecentForAddress } => new Problem(ProblemKind.RateLimited,
            "Too many links were sent to this address within an hour. Wait a while and try again."),
        { Links.RecentForIp: >= MaxRecentForIp } => new Problem(ProblemKind.RateLimited,
            "Too many links were requested from your network within an hour. Wait a while and try again."),
        { Links.RecentForSite: >= MaxRecentForSite } => new Problem(ProblemKind.RateLimited,
            "Too many links were requested from your provider's network within an hour. Wait a while and try again."),
        { Links.Recent: >= MaxRecent } => new Problem(ProblemKind.RateLimited,
            "Too many people are asking for links at the moment. Wait a while and try again."),
        _ => new Plan(email, facts.Now + Lifetime),
    };
}
