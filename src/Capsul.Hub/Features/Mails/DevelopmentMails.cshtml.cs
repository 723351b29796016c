using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// The newest emails, in place of a mailbox: only in development without an SMTP server, otherwise "not found".
/// </summary>
[Authorize(Policies.Public)]
public sealed partial class DevelopmentMailsPage(Db db, MailSeal seal, Settings settings) : PageModel
{
    public IReadOnlyList<ShownMailRow> Mails { get; private set; } = [];

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (settings is not { Development: true, SmtpHost: null })
            return Problems.Page(new Problem(ProblemKind.NotFound, Problems.Explain(404).Sentence));
        Mails = await db.ListAsync<ShownMailRow>(MailSql.Newest, null, cancel);
        return Page();
    }

    /// <summary>The text of a mail in pieces; every second one is a link.</summary>
    public string[] Pieces(ShownMailRow mail) => Links().Split(seal.Open(mail.Body, mail.Secret) ?? mail.Body);

    [GeneratedRegex(@"(https?://\S+)", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Links();
}
