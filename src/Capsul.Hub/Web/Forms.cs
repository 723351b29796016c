using Capsul.Foundation;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.AspNetCore.Mvc.ViewFeatures;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Web;

/// <summary>How a form answers: the page again with what is wrong, or another page that says what was done.</summary>
public static class Forms
{
    /// <summary>The cookie that carries what is said on the next page.</summary>
    public const string CookieName = "capsul-done";

    const string DoneKey = "Done";

    /// <summary>The same page, with the sentence at its top and beside the field it is about.</summary>
    /// <param name="field">The field on this page, where the problem calls it otherwise.</param>
    public static PageResult Refuse(this PageModel page, Problem problem, string? field = null)
    {
        page.ModelState.AddModelError(field ?? problem.Field ?? "", problem.Message);
        page.Response.StatusCode = problem.HttpStatus;
        return page.Page();
    }

    /// <summary>
    /// What the page before wants said, once. Only who has the cookie is looked at: looking alone would set it.
    /// </summary>
    public static string? Told(HttpContext context, ITempDataDictionary tempData) =>
        context.Request.Cookies.ContainsKey(context.RequestServices.GetRequiredService<Site>().Cookie(CookieName))
            ? tempData[DoneKey] as string : null;

    /// <summary>Said once, at the top of the next page, where the focus goes.</summary>
    public static void Done(this PageModel page, string sentence) => page.TempData[DoneKey] = sentence;

    /// <summary>Takes what was typed into a field out of the answer: what must not be shown again.</summary>
    public static void Forget(this PageModel page, string field, Action clear)
    {
        clear();
        page.ModelState.SetModelValue(field, null, null);
    }
}
