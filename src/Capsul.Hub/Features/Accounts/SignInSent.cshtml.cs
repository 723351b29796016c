using Capsul.Foundation;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Confirms that a link was queued, and for which address.</summary>
[Authorize(Policies.Public)]
public sealed class SignInSentPage(Settings settings) : PageModel
{
    /// <summary>TempData key of the address.</summary>
    public const string SentTo = "SentTo";

    /// <summary>The address of the last request; null when the page was opened directly.</summary>
    public string? Email => TempData.Peek(SentTo) as string;

    /// <summary>Emails are shown on a page instead of being sent.</summary>
    public bool ShowsMails => settings is { Development: true, SmtpHost: null };
}
