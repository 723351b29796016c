using Capsul.Foundation;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Requesting a sign-in link by email.</summary>
public static class SignIn
{
    /// <summary>How long a link works.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromMinutes(20);

    /// <summary>The period over which requests are counted.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromHours(1);

    public const int MaxLiveForAddress = 3, MaxRecentForAddress = 10, MaxRecentForIp = 20, MaxRecentForSite = 60;

    /// <summary>For everybody together: protects our mail server's reputation from a flood.</summary>
    public const int MaxRecent = 2000;

    /// <summary>
    /// Counts for an email address and an IP: links that are still valid, and links requested within <see
    /// cref="Window"/>.
    /// </summary>
    public sealed record Facts(DateTime Now, AskedLinksRow Links);

    public sealed record Plan(string Email, DateTime Expires);

    /// <summary>
    /// Whether to email a link. The answer does not depend on whether the account exists; it is created at first
    /// sign-in.
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
            "Too many people are requesting links at the moment. Wait a while and try again."),
        _ => new Plan(email, facts.Now + Lifetime),
    };
}
