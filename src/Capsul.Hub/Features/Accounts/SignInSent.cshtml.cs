using Capsul.Foundation;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Says that a link was queued, and for which address.</summary>
[Authorize(Policies.Public)]
public sealed class SignInSentPage(Settings settings) : PageModel
{
    /// <summary>Name under which the address comes along.</summary>
    public const string SentTo = "SentTo";

    /// <summary>The address, until another is asked for; null when the page was opened by itself.</summary>
    public string? Email => TempData.Peek(SentTo) as string;

    /// <summary>Mails are shown on a page instead of being sent.</summary>
    public bool ShowsMails => settings is { Development: true, SmtpHost: null };
}
