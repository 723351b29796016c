using Capsul.Foundation;
using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Web;

/// <summary>
/// The one place where a problem becomes a page. A handler returns <see cref="Page"/>; exceptions are mapped by <see
/// cref="Of"/>. Both store the problem in the request, and the page at <see cref="Path"/> shows its message, never its
/// detail.
/// </summary>
public static partial class Problems
{
    /// <summary>The path that renders the body of a response with status 400 or above.</summary>
    public const string Path = "/problem";

    /// <summary>The response to a request that is refused.</summary>
    public static IActionResult Page(Problem problem) => new Refusal(problem);

    /// <summary>The response to an unacceptable request, with the message of its status.</summary>
    public static IActionResult Status(int status) => new StatusCodeResult(status);

    /// <summary>The same for an endpoint that is not a page.</summary>
    public static IResult Result(HttpContext context, Problem problem)
    {
        context.Features.Set(problem);
        return Results.StatusCode(problem.HttpStatus);
    }

    /// <summary>What an unhandled exception means to the person who made the request.</summary>
    public static Problem? Of(Exception error) => error switch
    {
        ProblemException known => known.Problem,
        NpgsqlException { InnerException: IOException or TimeoutException or System.Net.Sockets.SocketException }
            or PostgresException { IsTransient: true }
            // Somebody canceled the statement: an operator, a time limit, or the cancellation of an earlier one that
            // came late. Whoever leaves in the middle of a request is not told anything.
            or PostgresException { SqlState: PostgresErrorCodes.QueryCanceled } =>
            new Problem(ProblemKind.Unavailable,
                "The database does not respond. Nothing was changed; try again in a moment.", error.Message),
        AntiforgeryValidationException => new Problem(
            ProblemKind.Invalid, "This form is out of date. Reload its page and submit it again.", error.Message),
        _ => null,
    };

    public static int StatusOf(Exception error) =>
        error is BadHttpRequestException bad ? bad.StatusCode : Of(error)?.HttpStatus ?? 500;

    /// <summary>Whether this request renders the error page.</summary>
    public static bool IsExplaining(HttpContext context) =>
        context.Features.Get<IStatusCodeReExecuteFeature>() is not null
            || context.Features.Get<IExceptionHandlerFeature>() is not null;

    /// <summary>Title and message for a status without a problem.</summary>
    public static (string Title, string Sentence) Explain(int status) => status switch
    {
        400 => ("That did not work",
            "The request was not understood. If you submitted a form, reload its page and submit it again."),
        401 => ("Signed out", "Your session has ended. Sign in again."),
        402 => ("Not enough on your balance", "Your balance does not cover this. Top up first."),
        403 => ("Not allowed", "You do not have permission to do this."),
        404 => ("Not found", "There is nothing here, or it belongs to somebody else."),
        405 => ("Method not allowed", "This address exists, but does not accept this kind of request."),
        409 => ("Not possible right now", "This cannot be done in the current state."),
        413 => ("Too large", "The request is larger than any form here needs."),
        429 => ("Too many requests", "There were too many requests in a short time. Wait a moment and try again."),
        503 => ("Temporarily unavailable", "A required service does not respond. Try again in a moment."),
        _ => ("Something went wrong",
            "This is our fault, and it has been logged. Try again; if it keeps happening, contact support."),
    };

    /// <summary>Writes down what a person was not told.</summary>
    public static void Record(ILogger logger, HttpContext context, Exception error)
    {
        if (Of(error) is { } problem)
            Log.Refused(logger, context.Request.Method, RouteOf(context), problem);
        else if (StatusOf(error) == 500)
            Log.Broken(logger, error, context.Request.Method, RouteOf(context));
    }

    /// <summary>The pattern, never the path: a path may contain a sign-in token.</summary>
    static string RouteOf(HttpContext context) =>
        context.GetEndpoint() is RouteEndpoint { RoutePattern.RawText: { } pattern }
            ? "/" + pattern.TrimStart('/')
            : "(no route)";

    sealed class Refusal(Problem problem) : IActionResult
    {
        public Task ExecuteResultAsync(ActionContext context)
        {
            context.HttpContext.Features.Set(problem);
            context.HttpContext.Response.StatusCode = problem.HttpStatus;
            return Task.CompletedTask;
        }
    }

    /// <summary>The problem of this request, if there is one.</summary>
    public static Problem? Find(HttpContext context) =>
        context.Features.Get<Problem>()
            ?? (context.Features.Get<IExceptionHandlerFeature>() is { } thrown ? Of(thrown.Error) : null);

    static partial class Log
    {
        [LoggerMessage(EventId = 3001, Level = LogLevel.Warning, Message = "{Method} {Route} was refused: {Problem}")]
        public static partial void Refused(ILogger log, string method, string route, Problem problem);

        [LoggerMessage(EventId = 3002, Level = LogLevel.Error,
            Message = "{Method} {Route} failed with an unhandled error")]
        public static partial void Broken(ILogger log, Exception error, string method, string route);
    }
}
