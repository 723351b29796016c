using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>Creating a VM: either a refusal, or a row, an address and an operation in one transaction.</summary>
public static partial class CreateVm
{
    public const string OperationName = "create_vm";

    const int EmulatedFactor = 4;

    /// <summary>What the owner chose. An empty name is generated. Key ids are those of <c>ssh_keys</c>.</summary>
    public sealed record Input(string? Name, string? Size, string? Image, IReadOnlyList<long> KeyIds)
    {
        /// <summary>The ID to use, so that submitting the same form twice creates one VM; null generates one.</summary>
        public string? Id { get; init; }
    }

    /// <summary>Input of the decision, read while the account is locked.</summary>
    public sealed record Facts(
        SizeRow? Size, ImageRow? Image, int KeysFound, BalanceRow Balance, int Alive, int MaxVms)
    {
        /// <summary>What the owner lets a month cost; null: anything.</summary>
        public SpendingCapRow? Cap { get; init; }
    }

    /// <summary>The refusal, or null. Capacity is not decided here, but by <see cref="FindPlace"/>.</summary>
    public static Problem? Decide(Input input, Facts facts)
    {
        if (!string.IsNullOrEmpty(input.Name) && !HostName().IsMatch(input.Name))
            return Wrong(nameof(Input.Name),
                "A name is 1 to 63 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen.");
        if (facts.Size is null)
            return Wrong(nameof(Input.Size),
                string.IsNullOrEmpty(input.Size) ? "Choose a size." : $"There is no size called {Quote(input.Size)}.");
        if (facts.Image is null)
            return Wrong(nameof(Input.Image), string.IsNullOrEmpty(input.Image)
                ? "Choose an image."
                : $"There is no image called {Quote(input.Image)}.");
        return CheckFit(facts.Size, facts.Image) ?? CheckKeys(input, facts) ?? CheckAccount(facts.Size, facts)
            ?? SpendingCap.Check(facts.Cap, facts.Balance.DollarsPerMonth + facts.Size.DollarsPerMonth, "capsul");
    }

    static Problem? CheckFit(SizeRow size, ImageRow image) =>
        image.Deprecated ? Wrong(nameof(Input.Image), $"The image {image.Title} is no longer offered for new capsuls.")
        : size.DiskGb < image.MinDiskGb ? Wrong(nameof(Input.Size),
            $"{image.Title} needs a disk of {image.MinDiskGb} GiB or more; size {size.Id} has {size.DiskGb} GiB.")
        : size.MemoryMb < image.MinMemoryMb ? Wrong(nameof(Input.Size),
            $"{image.Title} needs {Show.Memory(image.MinMemoryMb)} of memory or more; size {size.Id} has "
                + $"{Show.Memory(size.MemoryMb)}.")
        : null;

    static Problem? CheckKeys(Input input, Facts facts) =>
        input.KeyIds.Count == 0
            ? Wrong(nameof(Input.KeyIds), "Choose at least one SSH key; without one nobody could log in.")
        : facts.KeysFound != input.KeyIds.Distinct().Count()
            ? Wrong(nameof(Input.KeyIds), "One of the chosen SSH keys no longer exists.")
        : null;

    static Problem? CheckAccount(SizeRow size, Facts facts)
    {
        if (facts.Alive >= facts.MaxVms)
            return new(ProblemKind.Conflict,
                $"You have {Show.Count(facts.Alive, "capsul", "capsuls")}, the most your account may have. For "
                    + "a new account that grows with its age and payments; or contact support to raise the limit.");
        var balance = facts.Balance;
        var day = Prices.PerDay(balance.DollarsPerMonth + size.DollarsPerMonth);
        if (balance.Balance >= day) return null;
        var what = balance.DollarsPerMonth > 0 ? "all your capsuls" : "this capsul";
        return new(ProblemKind.InsufficientFunds,
            $"Your balance is {Show.Dollars(balance.Balance)}; one day of {what} costs "
                + $"{Show.Cost(Prices.Ceiling(day))}. Top up first.");
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <summary>Decides and, unless refused, starts the operation. Returns the VM's ID.</summary>
    public static Task<Outcome<string>> RunAsync(
        Db db, string email, Input input, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(transaction => InAsync(transaction, email, input, settings, time, cancel), cancel);

    /// <summary>The same in the caller's transaction.</summary>
    public static async Task<Outcome<string>> InAsync(
        NpgsqlTransaction transaction, string email, Input input,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var facts = await LoadAsync(transaction, email, input, settings, now, cancel);
        if (Decide(input, facts) is { } problem) return problem;
        var (size, image) = (facts.Size!, facts.Image!);
        if ((await FindPlace.InAsync(transaction, email, size, image, settings, now, cancel))
            .Refused(out var shortage, out var place))
            return shortage;
        var id = input.Id ?? NewId();
        await InsertAsync(transaction, id, email, input, size, image, place, now, cancel);
        await transaction.StartOperationAsync(
            OperationName, id, email, place.Busy ? CreateVmOperation.Queue : CreateVmOperation.Start,
            $"Scheduled on host {place.Host}", now, Deadline(settings, place), cancel);
        await transaction.AuditAsync(email, OperationName, id, $"{size.Id} {image.Id} on {place.Host}", cancel);
        return id;
    }

    /// <summary>
    /// Emulated guests take several times as long (a Debian that needs 40 s on KVM took 300 s). A deadline set by the
    /// operator is used as is.
    /// </summary>
    public static TimeSpan BuildLimit(Settings settings, bool isEmulated) =>
        isEmulated && !settings.CreateDeadlineIsSet
            ? settings.CreateDeadline * EmulatedFactor
            : settings.CreateDeadline;

    /// <summary>The time in the queue comes before.</summary>
    static TimeSpan Deadline(Settings settings, PlaceRow place) =>
        BuildLimit(settings, place.Emulated) + (place.Busy ? CreateVmOperation.QueueLimit : TimeSpan.Zero);

    static async Task<Facts> LoadAsync(
        NpgsqlTransaction transaction, string email, Input input,
        Settings settings, DateTime now, CancellationToken cancel)
    {
        // Locks the account first: balance and count must not change during the decision.
        await using var found = await transaction.ReadTogetherAsync(VmSql.LockAccountAndFacts, new
        {
            email,
            max = settings.MaxVms,
            size = input.Size ?? "",
            image = input.Image ?? "",
            keyIds = input.KeyIds.Distinct().ToArray(),
            now,
            month = SetSpendingLimits.MonthOf(now),
            nextMonth = SetSpendingLimits.MonthOf(now).AddMonths(1),
        }, cancel);
        var max = await found.ReadSingleOrDefaultAsync<int>();
        return new Facts(
            await found.ReadSingleOrDefaultAsync<SizeRow>(),
            await found.ReadSingleOrDefaultAsync<ImageRow>(),
            await found.ReadSingleAsync<int>(),
            await found.ReadSingleAsync<BalanceRow>(),
            await found.ReadSingleAsync<int>(),
            max)
        {
            Cap = await found.ReadSingleOrDefaultAsync<SpendingCapRow>(),
        };
    }

    static async Task InsertAsync(
        NpgsqlTransaction transaction, string id, string email, Input input, SizeRow size, ImageRow image,
        PlaceRow place, DateTime now, CancellationToken cancel)
    {
        await using var added = await transaction.ReadTogetherAsync(VmSql.Add, new
        {
            id,
            vm = id,
            email,
            name = string.IsNullOrEmpty(input.Name) ? id : input.Name,
            size = size.Id,
            image = image.Id,
            imageSha256 = place.ImageSha256,
            loginUser = image.LoginUser,
            host = place.Host,
            now,
            dollarsPerMonth = size.DollarsPerMonth,
            priceFrom = size.PriceFrom,
            pricePercent = size.PricePercent,
            vcpus = size.Vcpus,
            memoryMb = size.MemoryMb,
            diskGb = size.DiskGb,
            queued = place.Busy ? now : (DateTime?)null,
            keyIds = input.KeyIds.Distinct().ToArray(),
        }, cancel);
        await added.ReadSingleAsync<long>();
        if (await added.ReadSingleOrDefaultAsync<AddressRow>() is null)
            throw new ProblemException(ProblemKind.NoCapacity,
                $"The last free address of {place.Host} has just been taken. Try again.");
    }

    /// <summary><c>capsul-</c> and ten of [a-z0-9]: 51 bits, and the primary key refuses a repeat.</summary>
    public static string NewId() =>
        "capsul-" + RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 10);

    static string Quote(string text) => text.Length <= 40 ? $"“{text}”" : $"“{text[..40]}…”";

    [GeneratedRegex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex HostName();
}
