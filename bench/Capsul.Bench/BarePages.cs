using System.Net;
using System.Text;
using Capsul.Postgres;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Capsul.Bench;

/// <summary>
/// What ASP.NET Core and one query cost, each in a process of its own that <see cref="PagesBench"/> starts: a handler
/// that writes text, and the smallest Razor Page.
/// </summary>
static class BarePages
{
    /// <summary>How this program is started as one of them.</summary>
    public const string Handler = "bare-page", Razor = "bare-razor-page";

    /// <summary>Where its database is.</summary>
    public const string Database = "BENCH_DATABASE";

    static Db OpenDatabase() => new(Environment.GetEnvironmentVariable(Database)!);

    public static async Task<int> ServeHandlerAsync(int port)
    {
        await using var db = OpenDatabase();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        await using var app = builder.Build();
        app.MapGet("/{email}", async (string email, CancellationToken cancel) =>
        {
            var page = new StringBuilder("<!doctype html><title>Bare</title><ul>");
            foreach (var name in await db.ListAsync<string>(BenchSql.Names, new { email }, cancel))
                page.Append("<li>").Append(WebUtility.HtmlEncode(name));
            return Results.Text(page.Append("</ul>").ToString(), "text/html");
        });
        await app.RunAsync();
        return 0;
    }

    public static async Task<int> ServeRazorAsync(int port)
    {
        await using var db = OpenDatabase();
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        builder.Services.AddSingleton(db).AddRazorPages();
        await using var app = builder.Build();
        app.MapRazorPages();
        await app.RunAsync();
        return 0;
    }
}

/// <summary>Names of an account's VMs, without a layout.</summary>
public sealed class BareRazorPage(Db db) : PageModel
{
    public IReadOnlyList<string> Names { get; private set; } = [];

    public async Task OnGetAsync(string email, CancellationToken cancel) =>
        Names = await db.ListAsync<string>(BenchSql.Names, new { email }, cancel);
}
