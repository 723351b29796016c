using System.Net;
using System.Net.Mime;
using System.Text;
using Microsoft.Net.Http.Headers;

namespace Capsul.Fleet;

/// <summary>
/// The figures as a page on loopback, without scripts: it refreshes itself. <c>/figures</c> has them as JSON.
/// </summary>
sealed class FleetPage : IAsyncDisposable
{
    const string Policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        + "form-action 'none'";

    const string Style = """
        body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; color: #111; background: #fff; }
        table { border-collapse: collapse; margin-bottom: 2rem; }
        th, td { text-align: left; padding: .2rem 2rem .2rem 0; border-bottom: 1px solid #ccc; font-weight: normal; }
        td { font-variant-numeric: tabular-nums; }
        """;

    readonly WebApplication app;

    FleetPage(WebApplication app) => this.app = app;

    /// <param name="port">On 127.0.0.1.</param>
    /// <param name="read">The newest figures; null: none yet.</param>
    public static async Task<FleetPage> StartAsync(
        int port, Func<FleetFigures?> read, Func<IReadOnlyList<KeyValuePair<string, long>>> reasons,
        CancellationToken cancel)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Listen(IPAddress.Loopback, port);
        });
        var app = builder.Build();
        app.Use(async (context, next) =>
        {
            context.Response.Headers[HeaderNames.ContentSecurityPolicy] = Policy;
            context.Response.Headers[HeaderNames.XContentTypeOptions] = "nosniff";
            context.Response.Headers[HeaderNames.CacheControl] = "no-store";
            await next(context);
        });
        app.MapGet("/", () => Results.Text(Html(read(), reasons()), MediaTypeNames.Text.Html, Encoding.UTF8));
        app.MapGet("/style.css", () => Results.Text(Style, MediaTypeNames.Text.Css, Encoding.UTF8));
        app.MapGet("/figures", () => Results.Json(new { figures = read(), reasons = reasons() }));
        await app.StartAsync(cancel);
        return new FleetPage(app);
    }

    static string Html(FleetFigures? figures, IReadOnlyList<KeyValuePair<string, long>> reasons)
    {
        var page = new StringBuilder("""
            <!doctype html>
            <html lang="en">
            <head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Capsul fleet</title>
            <link rel="stylesheet" href="/style.css"></head>
            <body><main><h1>Fleet</h1><table>

            """);
        foreach (var (name, value) in figures?.Lines ?? []) Row(page, name, value);
        page.Append("</table><h2>Broken connections</h2><table>\n");
        foreach (var (why, times) in reasons) Row(page, why, $"{times}");
        return page.Append("</table></main></body></html>\n").ToString();
    }

    static void Row(StringBuilder page, string name, string value) => page.Append("<tr><th scope=\"row\">")
        .Append(WebUtility.HtmlEncode(name)).Append("</th><td>")
        .Append(WebUtility.HtmlEncode(value)).Append("</td></tr>\n");

    public async ValueTask DisposeAsync() => await app.DisposeAsync();
}
