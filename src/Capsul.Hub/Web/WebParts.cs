using System.Text.Encodings.Web;
using System.Text.Unicode;
using Capsul.Foundation;
using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.DataProtection.KeyManagement;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.WebEncoders;

namespace Capsul.Hub.Web;

/// <summary>
/// The web application without its pages: <see cref="AddWeb"/> adds the services, <see cref="MapWeb"/> the middleware
/// in order. Every route names its policy; without one it requires a sign-in.
/// </summary>
public static partial class WebParts
{
    public static IServiceCollection AddWeb(this IServiceCollection services, Settings settings)
    {
        services.AddRazorPages(pages => pages.RootDirectory = "/Features").AddApplicationPart(typeof(WebParts).Assembly)
            .AddMvcOptions(mvc => mvc.Filters.Add<NoHandler>())
            .AddViewOptions(views => views.HtmlHelperOptions.ClientValidationEnabled = false);
        services.AddRouting(routing => routing.LowercaseUrls = true);
        services.AddSingleton<Site>();
        services.Configure<KestrelServerOptions>(kestrel => kestrel.AddServerHeader = false);
        // Letters of every script are written as they are, not as numeric entities; HTML's special characters are still
        // escaped.
        services.Configure<WebEncoderOptions>(
            encoder => encoder.TextEncoderSettings = new TextEncoderSettings(UnicodeRanges.All));

        var signedIn = new AuthorizationPolicyBuilder().RequireClaim(Actor.EmailClaim).Build();
        services.AddAuthorizationBuilder()
            .SetFallbackPolicy(signedIn)
            .SetDefaultPolicy(signedIn)
            .AddPolicy(Policies.SignedIn, signedIn)
            .AddPolicy(Policies.Operator, new AuthorizationPolicyBuilder().RequireClaim(Actor.EmailClaim)
                .RequireAssertion(request => Policies.IsOperator(
                    settings, request.User.FindFirst(Actor.EmailClaim)?.Value)).Build())
            .AddPolicy(Policies.Public, new AuthorizationPolicyBuilder().RequireAssertion(_ => true).Build());

        AddForms(services);
        AddNetwork(services, settings);
        services.AddExceptionHandler(errors =>
        {
            errors.ExceptionHandlingPath = Problems.Path;
            errors.CreateScopeForErrors = true;
            errors.StatusCodeSelector = Problems.StatusOf;
            // Problems logs each error once, and not the expected ones.
            errors.SuppressDiagnosticsCallback = _ => true;
        });
        return services;
    }

    static void AddNetwork(IServiceCollection services, Settings settings)
    {
        services.AddRateLimiter(limits =>
        {
            limits.RejectionStatusCode = StatusCodes.Status429TooManyRequests;
            limits.GlobalLimiter = Limits.PerAddress();
        });
        services.Configure<ForwardedHeadersOptions>(forwarded =>
        {
            // Without a known network the framework would trust everybody.
            forwarded.ForwardedHeaders = settings.TrustedProxies.Count == 0
                ? ForwardedHeaders.None : ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto;
            // From the nearest proxy backwards, as long as each one is trusted.
            forwarded.ForwardLimit = null;
            forwarded.KnownProxies.Clear();
            forwarded.KnownIPNetworks.Clear();
            foreach (var network in settings.TrustedProxies) forwarded.KnownIPNetworks.Add(network);
        });
        services.AddResponseCompression(compression =>
        {
            // A page contains no secret beside its reader's own input: form tokens are encrypted differently each time.
            compression.EnableForHttps = true;
            compression.MimeTypes = ["text/html", "text/css", "text/javascript", "image/svg+xml", "text/plain"];
        });
        // Otherwise anyone who can make a browser on this machine request a host name of theirs (DNS rebinding) could
        // read the emails.
        services.AddHostFiltering(hosts => hosts.AllowedHosts = settings.Development
            ? ["localhost", "127.0.0.1", "[::1]", .. settings.BaseUrl is { } url ? [url.Host] : Array.Empty<string>()]
            : ["*"]);
    }

    static void AddForms(IServiceCollection services)
    {
        services.AddAntiforgery();
        services.AddOptions<AntiforgeryOptions>().Configure<Site>((forms, site) =>
        {
            forms.Cookie.Name = site.Cookie("capsul-form");
            forms.Cookie.SecurePolicy = site.Secure ? CookieSecurePolicy.Always : CookieSecurePolicy.None;
            forms.Cookie.SameSite = SameSiteMode.Lax;
            forms.FormFieldName = "form-token";
            forms.SuppressXFrameOptionsHeader = true;
        });
        services.Configure<FormOptions>(form =>
        {
            form.ValueCountLimit = 128;
            form.KeyLengthLimit = 128;
            form.ValueLengthLimit = (int)Limits.MaxBodyBytes;
        });
        services.AddOptions<CookieTempDataProviderOptions>().Configure<Site>((flash, site) =>
        {
            flash.Cookie.Name = site.Cookie(Forms.CookieName);
            flash.Cookie.SecurePolicy = site.Secure ? CookieSecurePolicy.Always : CookieSecurePolicy.None;
            flash.Cookie.Path = "/";
            flash.Cookie.IsEssential = true;
        });
        // One name for all Hubs on one database, wherever they are installed.
        services.AddDataProtection().SetApplicationName("capsul");
        services.AddSingleton<KeyRingXml>();
        services.AddOptions<KeyManagementOptions>().Configure<KeyRingXml>((keys, ring) => keys.XmlRepository = ring);
        // It warns that keys are stored unencrypted, because it does not know that the key ring encrypts them.
        services.AddLogging(
            logs => logs.AddFilter("Microsoft.AspNetCore.DataProtection.KeyManagement.XmlKeyManager", LogLevel.Error));
    }

    /// <param name="app">The application.</param>
    /// <param name="first">Takes requests that are not for the pages.</param>
    public static WebApplication MapWeb(this WebApplication app, Action<IApplicationBuilder> first)
    {
        var site = app.Services.GetRequiredService<Site>();
        var log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger("Capsul.Hub.Web");
        if (!site.Secure)
            Log.Plain(log);
        else if (!site.Tls)
            Log.Unreachable(log, site.Base);

        app.UseForwardedHeaders();
        first(app);
        app.UseHostFiltering();
        app.Use((context, next) =>
        {
            Headers.Set(context, site.Tls);
            // People connect over TLS, whatever the last hop uses: antiforgery refuses to set a secure cookie
            // otherwise.
            if (site.Secure)
                context.Request.Scheme = Uri.UriSchemeHttps;
            // The link limits its messages itself.
            if (context.Request.ContentType?.StartsWith("application/grpc", StringComparison.Ordinal) != true
                && context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } body)
                body.MaxRequestBodySize = Limits.MaxBodyBytes;
            return next(context);
        });
        app.UseResponseCompression();
        app.UseExceptionHandler();
        app.Use(async (context, next) =>
        {
            try
            {
                await next(context);
            }
            catch (Exception error)
                when (error is not OperationCanceledException || !context.RequestAborted.IsCancellationRequested)
            {
                Problems.Record(log, context, error);
                throw;
            }
        });
        app.UseStatusCodePagesWithReExecute(Problems.Path, queryFormat: null, createScopeForStatusCodePages: true);
        app.UseWebSockets();
        app.UseRouting();
        app.UseRateLimiter();
        app.UseAuthentication();
        app.UseAuthorization();

        app.MapRazorPages();
        app.MapAssets();
        app.MapWellKnown();
        // Otherwise the policy for routes that name none would redirect every mistyped address to the sign-in page.
        app.MapFallback("{*path}", () => Results.NotFound()).RequireAuthorization(Policies.Public);
        return app;
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3000, Level = LogLevel.Information,
            Message = "The pages are plain http on this machine, so cookies are sent without TLS. Set "
                + "CAPSUL_BASE_URL to an https address before others use them.")]
        public static partial void Plain(ILogger log);

        [LoggerMessage(EventId = 3003, Level = LogLevel.Error,
            Message = "CAPSUL_BASE_URL is {Address}, plain http beyond this machine. Browsers will not send the "
                + "cookies there, so nobody can sign in. Put TLS in front and set an https address.")]
        public static partial void Unreachable(ILogger log, Uri address);
    }
}
