using Capsul.Foundation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Web;

/// <summary>
/// Serves the pages' port while this Hub cannot serve the pages yet, because another Hub is active on an older schema:
/// <c>/healthz</c> with "standby" and the reason, and a plain sentence with status 503 everywhere else, so that a proxy
/// uses the other Hub.
/// </summary>
sealed class WaitingRoom : IAsyncDisposable
{
    readonly WebApplication app;

    WaitingRoom(WebApplication app) => this.app = app;

    public static async Task<WaitingRoom> OpenAsync(Settings settings, Func<string?> waiting, CancellationToken cancel)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(settings.Listen, settings.Port);
        });
        var room = new WaitingRoom(builder.Build());
        room.app.MapGet("/healthz", () => Results.Json(new { status = "standby", why = waiting() }));
        room.app.MapFallback(context =>
        {
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
            context.Response.Headers.RetryAfter = "5";
            return context.Response.WriteAsync(
                "This Hub is on standby: it takes over when the active Hub stops.\n", context.RequestAborted);
        });
        await room.app.StartAsync(cancel);
        return room;
    }

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync(CancellationToken.None);
        await app.DisposeAsync();
    }
}
