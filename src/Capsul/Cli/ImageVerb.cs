using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Images;
using Capsul.Postgres;
using Capsul.Spoke.Images;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>
/// <c>capsul image</c>: what VMs on this host can boot from. A running Spoke reports a new image to its Hub within
/// seconds.
/// </summary>
public static class ImageVerb
{
    static readonly Argument<string> Known = new("NAME") { Description = "tiny or debian-12." };
    static readonly Argument<string> Source = new("FILE|URL") { Description = "A qcow2 or raw disk image." };
    static readonly Argument<string> Id = new("ID") { Description = "The image's name in the catalog." };
    static readonly Option<string> Sha256 =
        new("--sha256") { Description = "Checksum of the file, 64 hex digits.", Required = true };
    static readonly Option<string> ImportId = new("--id")
    { Description = "Name in the catalog, such as alpine-3.20. Default: the file's name without its extension." };
    static readonly Option<string> Title = new("--title") { Description = "Display name. Default: the id." };
    static readonly Option<string> User = new("--user")
    { Description = "User who gets the SSH keys. Default: the distribution's usual one." };
    static readonly Option<int> MinDisk = new("--min-disk-gb")
    { Description = "Minimum disk size, GiB.", DefaultValueFactory = _ => 1 };
    static readonly Option<int> MinMemory = new("--min-memory-mb")
    { Description = "Minimum memory, MiB.", DefaultValueFactory = _ => 256 };
    static readonly Option<bool> Force = new("--force") { Description = "Rebuild if it exists." };
    static readonly Argument<string?> OfferId = new("ID")
    { Description = "The image's name.", Arity = ArgumentArity.ZeroOrOne };
    static readonly Option<string?> OfferHost = new("--host")
    { Description = "Host whose description to use. Required when several hosts have the image." };
    static readonly Option<bool> Undo = new("--undo") { Description = "Offer it again." };

    public static Command Make() => new("image", """
        Images that VMs on this host can boot from.

        Examples:
          capsul image build tiny
          capsul image build debian-12
          capsul image import debian-13.qcow2 --sha256 9f86… --min-disk-gb 3
          capsul image list
          capsul image offer debian-13 --host rack1
        """)
    {
        CommandLine.Verb("build", "Builds an image from Debian packages.", BuildAsync, Known, Force),
        CommandLine.Verb("import", "Imports a disk image from a file or URL, given its checksum.",
            ImportAsync, Source, Sha256, ImportId, Title, User, MinDisk, MinMemory),
        CommandLine.Verb("list", "Lists the images of this host.", ListAsync),
        CommandLine.Verb("offer", """
            Adds a host's image to the catalog, with the title and login user that the host reports. Run on the Hub.
            Images on the Hub's own machine are offered automatically. Without an ID, lists the images on hosts that are
            not in the catalog.
            """, OfferAsync, OfferId, OfferHost),
        CommandLine.Verb("deprecate",
            "Hides an image from the form for new VMs; existing VMs are not affected. Run on the Hub.",
            DeprecateAsync, Id, Undo),
    };

    static async Task<int> BuildAsync(ParseResult parsed, CancellationToken cancel)
    {
        var store = new ImageStore(Settings.Load().Images);
        var image = await EnsureAsync(store, parsed.GetValue(Known)!, parsed.GetValue(Force), cancel);
        Console.WriteLine($"{image.Id} {image.Version}: {image.Title}, user {image.LoginUser}");
        return 0;
    }

    /// <summary>
    /// The image, built with a progress bar if it is missing or outdated (or <paramref name="force"/>).
    /// </summary>
    /// <exception cref="ProblemException">Invalid: there is no recipe for that name.</exception>
    public static async Task<Spoke.Images.Image> EnsureAsync(
        ImageStore store, string id, bool force, CancellationToken cancel)
    {
        if (!force && store.Current(id) is { } there && TinyImage.IsCurrent(there)) return there;
        Func<Action<ImageProgress>, Task<Spoke.Images.Image>> build = id switch
        {
            TinyImage.Id => progress => TinyImage.BuildAsync(store, progress, cancel),
            DebianImage.Id => progress => DebianImage.BuildAsync(store, progress, cancel),
            _ => throw new ProblemException(ProblemKind.Invalid,
                $"There is no recipe for an image called {id}; the recipes are tiny and debian-12. "
                + "Other images can be imported."),
        };
        return await WithBarAsync($"image {id}", build);
    }

    static async Task<int> ImportAsync(ParseResult parsed, CancellationToken cancel)
    {
        var store = new ImageStore(Settings.Load().Images);
        var file = parsed.GetValue(Source)!;
        var id = parsed.GetValue(ImportId) ?? IdOf(file);
        var user = parsed.GetValue(User) ?? UserOf(id)
            ?? throw new ProblemException(ProblemKind.Invalid,
                $"Specify with --user which user of {id} gets the SSH keys.");
        var source = new ImageSource(file, parsed.GetValue(Sha256)!, id, parsed.GetValue(Title) ?? id, user,
            parsed.GetValue(MinDisk), parsed.GetValue(MinMemory));
        using var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false });
        var image = await WithBarAsync(
            $"image {id}", progress => new ImageImport(store, client).ImportAsync(source, progress, cancel));
        Console.WriteLine($"{image.Id} {image.Version}: {image.Title}, user {image.LoginUser}");
        return 0;
    }

    /// <summary>"https://x/Debian-13_Generic.qcow2" becomes "debian-13-generic".</summary>
    static string IdOf(string source) =>
        Path.GetFileNameWithoutExtension(source.Split('?')[0]).ToLowerInvariant().Replace('_', '-');

    /// <summary>
    /// The user in cloud images of well-known distributions, by the first word of the image's ID, from their
    /// documentation.
    /// </summary>
    static string? UserOf(string id) => id.Split('-', '.')[0] switch
    {
        "debian" => "debian",
        "ubuntu" => "ubuntu",
        "alpine" => "alpine",
        "fedora" => "fedora",
        "arch" => "arch",
        "rocky" => "rocky",
        "almalinux" => "almalinux",
        "centos" => "cloud-user",
        "opensuse" => "opensuse",
        "freebsd" => "freebsd",
        _ => null,
    };

    static Task<T> WithBarAsync<T>(string what, Func<Action<ImageProgress>, Task<T>> work) =>
        AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) })
            .Progress().AutoClear(false).StartAsync(async bars =>
            {
                var bar = bars.AddTask(what, maxValue: 1);
                var result = await work(p =>
                {
                    bar.Description = Markup.Escape($"{what}: {p.Step}");
                    bar.Value = p.Fraction;
                });
                bar.Value = 1;
                return result;
            });

    static Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("image", "title", "version", "user", "disk from", "memory from");
        foreach (var image in new ImageStore(Settings.Load().Images).List())
            table.AddRow([.. new[]
            {
                image.Id, image.Title, image.Version, image.LoginUser,
                $"{image.MinDiskGb} GiB", $"{image.MinMemoryMb} MiB",
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return Task.FromResult(0);
    }

    static async Task<int> OfferAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        if (parsed.GetValue(OfferId) is not { } id) return await ListProposedAsync(database.Db, cancel);
        var image = (await OfferImage.RunAsync(database.Db, "cli", id, parsed.GetValue(OfferHost), cancel)).OrThrow();
        Console.WriteLine($"{image.Id} is offered: {image.Title}, login user {image.LoginUser}.");
        return 0;
    }

    static async Task<int> ListProposedAsync(Db db, CancellationToken cancel)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("image", "host", "title", "user", "disk from", "memory from");
        foreach (var i in await db.ListAsync<ProposedImageRow>(ImageSql.Proposed, null, cancel))
            table.AddRow([.. new[]
            {
                i.Id, i.Host, i.Title, i.LoginUser, $"{i.MinDiskGb} GiB", $"{i.MinMemoryMb} MiB",
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> DeprecateAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (id, deprecated) = (parsed.GetValue(Id)!, !parsed.GetValue(Undo));
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        if (await database.Db.ExecuteAsync(ImageSql.Deprecate, new { id, deprecated }, cancel) == 0)
            throw new ProblemException(ProblemKind.NotFound, $"There is no image {id} in the catalog.");
        Console.WriteLine(deprecated ? $"{id} is no longer offered." : $"{id} is offered again.");
        return 0;
    }
}
