using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Filters;

namespace Capsul.Hub.Web;

/// <summary>
/// Rejects a method or named handler that a page does not have. Razor would render the page without having loaded its
/// data.
/// </summary>
public sealed class NoHandler : IPageFilter
{
    public void OnPageHandlerSelected(PageHandlerSelectedContext context) { }

    public void OnPageHandlerExecuting(PageHandlerExecutingContext context)
    {
        // The error page runs with whatever method was rejected.
        if (Problems.IsExplaining(context.HttpContext)) return;
        var method = context.HttpContext.Request.Method;
        var onlyShown = HttpMethods.IsGet(method) || HttpMethods.IsHead(method);
        if (context.HandlerMethod is null
            && !(onlyShown && context.ActionDescriptor.HandlerMethods.All(h => h.HttpMethod != HttpMethods.Get)))
            context.Result = Problems.Status(StatusCodes.Status405MethodNotAllowed);
    }

    public void OnPageHandlerExecuted(PageHandlerExecutedContext context) { }
}
