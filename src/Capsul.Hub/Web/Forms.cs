using Capsul.Foundation;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.ViewFeatures;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Web;

/// <summary>How a form responds: the same page with the error, or another page that says what was done.</summary>
public static class Forms
{
    /// <summary>The cookie that carries the message for the next page.</summary>
    public const string CookieName = "capsul-done";

    const string DoneKey = "Done";

    /// <summary>The same page, with the message at the top and beside its field.</summary>
    /// <param name="field">The field on this page, if its name differs from the problem's.</param>
    public static PageResult Refuse(this PageModel page, Problem problem, string? field = null)
    {
        page.ModelState.AddModelError(field ?? problem.Field ?? "", problem.Message);
        page.Response.StatusCode = problem.HttpStatus;
        return page.Page();
    }

    /// <summary>
    /// The previous page's message, once. Read only if the request has the cookie: reading alone would set it.
    /// </summary>
    public static string? Told(HttpContext context, ITempDataDictionary tempData) =>
        context.Request.Cookies.ContainsKey(context.RequestServices.GetRequiredService<Site>().Cookie(CookieName))
            ? tempData[DoneKey] as string : null;

    /// <summary>Shows a message once, at the top of the next page, where the focus goes.</summary>
    public static void Done(this PageModel page, string sentence) => page.TempData[DoneKey] = sentence;

    /// <summary>Removes what was typed into a field from the response, because it must not be shown again.</summary>
    public static void Forget(this PageModel page, string field, Action clear)
    {
        clear();
        page.ModelState.SetModelValue(field, null, null);
    }
}
