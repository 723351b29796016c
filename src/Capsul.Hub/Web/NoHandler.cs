using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Filters;

namespace Capsul.Hub.Web;

/// <summary>
/// Refuses a method, or a named handler, that a page does not have. Razor would show the page without having loaded
/// what is on it.
/// </summary>
public sealed class NoHandler : IPageFilter
{
    public void OnPageHandlerSelected(PageHandlerSelectedContext context) { }

    public void OnPageHandlerExecuting(PageHandlerExecutingContext context)
    {
        // The page that explains a refusal comes by whatever method was refused.
        if (Problems.IsExplaining(context.HttpContext)) return;
        var method = context.HttpContext.Request.Method;
        var onlyShown = HttpMethods.IsGet(method) || HttpMethods.IsHead(method);
        if (context.HandlerMethod is null
            && !(onlyShown && context.ActionDescriptor.HandlerMethods.All(h => h.HttpMethod != HttpMethods.Get)))
            context.Result = Problems.Status(StatusCodes.Status405MethodNotAllowed);
    }

    public void OnPageHandlerExecuted(PageHandlerExecutedContext context) { }
}
