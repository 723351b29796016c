using System.CommandLine;
using System.Text;
using Capsul.Cli;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Capsul.Tests.House;

/// <summary>Reference pages that are generated from the program itself.</summary>
public sealed class GoldenTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public Task The_configuration_reference_is_up_to_date()
    {
        var text = new StringBuilder("""
            # Configuration

            Every setting is an environment variable, or a line `NAME=value` of the file `capsul.conf` in the data
            folder. The environment wins; a blank value counts as unset; an unknown `CAPSUL_` name is refused. A secret
            may come from a file: `NAME_FILE=/path`.

            This page is generated from the program (`UPDATE_GOLDEN=1 ./capsul test`).

            | setting | default | what it does |
            |---|---|---|

            """);
        foreach (var setting in Settings.All)
            text.Append($"| `{setting.Name}`{(setting.Secret ? " (secret)" : "")} | "
                + $"{(setting.Default is null ? "" : $"`{setting.Default}`")} | {setting.Description} |\n");
        return Golden.CheckAsync("docs/configuration.md", text.ToString(), Cancel);
    }

    [Fact]
    public async Task The_command_line_reference_is_up_to_date()
    {
        var text = new StringBuilder("""
            # The command line

            The `--help` of each command. Generated from the program (`UPDATE_GOLDEN=1 ./capsul test`).
            `./capsul test`, `./capsul bench` and `./capsul format` belong to the checkout and are described at the top
            of the script `capsul`.

            """);
        await AppendAsync(text, [], CommandLine.Make());
        await Golden.CheckAsync("docs/cli.md", text.ToString(), Cancel);
    }

    static async Task AppendAsync(StringBuilder text, string[] path, System.CommandLine.Command command)
    {
        await using var output = new StringWriter();
        await CommandLine.Make().Parse([.. path, "--help"])
            .InvokeAsync(new InvocationConfiguration { Output = output }, Cancel);
        var help = string.Join('\n', output.ToString().Split('\n').Select(l => l.TrimEnd()));
        help = help.Replace("Capsul.Tests", "capsul", StringComparison.Ordinal).Trim();
        text.Append($"\n## capsul {string.Join(' ', path)}\n\n```\n{help}\n```\n"
            .Replace("capsul \n", "capsul\n", StringComparison.Ordinal));
        foreach (var verb in command.Subcommands.Where(v => !v.Hidden))
            await AppendAsync(text, [.. path, verb.Name], verb);
    }

    [Fact]
    public async Task The_list_of_routes_is_up_to_date()
    {
        await using var world = await LinkHub.StartAsync(("CAPSUL_ENVIRONMENT", "development"));
        var routes = from endpoint in world.Hub.Services.GetServices<EndpointDataSource>()
                         .SelectMany(s => s.Endpoints).OfType<RouteEndpoint>()
                     let methods = endpoint.Metadata.GetMetadata<IHttpMethodMetadata>()?.HttpMethods
                         is { Count: > 0 } named ? string.Join(' ', named) : "GET POST"
                     let policy = endpoint.Metadata.GetOrderedMetadata<IAuthorizeData>().LastOrDefault()?.Policy
                         ?? "none"
                     let path = "/" + endpoint.RoutePattern.RawText!.TrimStart('/')
                     orderby path, methods
                     select $"| `{path}` | {methods} | {policy} |";
        await Golden.CheckAsync("docs/routes.md", $"""
            # Routes

            All routes of the Hub, and who may access them. Those of the link are on a separate port and require a
            client certificate, except to join. Generated from the program (`UPDATE_GOLDEN=1 ./capsul test`).

            | path | methods | policy |
            |---|---|---|
            {string.Join('\n', routes.Distinct(StringComparer.Ordinal))}
            """, Cancel);
    }

    [Fact]
    public async Task The_schema_is_the_result_of_all_scripts()
    {
        await using var database = await TestDatabase.CreateAsync();
        var parts = new NpgsqlConnectionStringBuilder(database.ConnectionString);
        var bin = EmbeddedPostgres.FindBinaries(null);
        var dump = await (new Capsul.Foundation.Command(Path.Combine(bin, "pg_dump"), "--schema-only",
            "--no-owner", "--no-privileges", "-h", parts.Host!, "-U", parts.Username!, parts.Database!)
            with
        { Environment = new Dictionary<string, string?> { ["PGPASSWORD"] = parts.Password } }).RunAsync(Cancel);
        var lines = dump.Output.Split('\n')
            .Where(l => !l.StartsWith("--", StringComparison.Ordinal) && !l.StartsWith("SET ", StringComparison.Ordinal)
                && !l.StartsWith("SELECT pg_catalog.set_config", StringComparison.Ordinal)
                && !l.StartsWith('\\') && l.Length > 0);
        await Golden.CheckAsync("schema_migrations/schema.sql",
            "-- The result of all up scripts. Generated by a test; see README.md.\n" + string.Join('\n', lines),
            Cancel);
    }
}
