using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;

namespace Capsul.Postgres.Logs;

/// <summary>
/// The database server's own log, entry by entry. An entry begins with a time, and includes the following lines without
/// one. Capsul's statements have their name in their first line, so that a slow one can be found in the source.
/// </summary>
public sealed partial class ServerLog(ILogFiles files)
{
    const int BlockBytes = 1 << 16;

    /// <summary>Longer lines are split into pieces of this size, bytes.</summary>
    const int MaxLineBytes = 1 << 20;

    /// <summary>How much of an entry is parsed for a slow statement, characters: only its beginning is shown.</summary>
    const int SlowChars = 4096;

    /// <summary>Without a start time: this much of the newest file.</summary>
    const long RecentBytes = 32 << 10;

    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(300);

    /// <summary>
    /// One entry: its time (UTC; null for lines without one), and its text without the last line end.
    /// </summary>
    public sealed record Entry(DateTime? At, string Text);

    /// <summary>A slow statement: time, duration, name, and beginning.</summary>
    public sealed record Slow(DateTime? At, double Milliseconds, string Name, string Statement);

    /// <summary>Entries in order.</summary>
    /// <param name="since">UTC; null: the most recent part.</param>
    /// <param name="follow">Continues until canceled, including files created later.</param>
    /// <param name="cancel">Stops reading.</param>
    public async IAsyncEnumerable<Entry> ReadAsync(
        DateTime? since, bool follow, [EnumeratorCancellation] CancellationToken cancel)
    {
        var listed = await files.ListAsync(cancel);
        var at = since is { } from ? listed.Where(f => f.Modified >= from).ToList() : [.. listed.TakeLast(1)];
        var current = at.Count > 0 ? at[0] : null;
        var lines = new Lines(files)
        {
            Offset = since is null && current is not null
            ? Math.Max(0, current.Bytes - RecentBytes) : 0
        };
        // The first line of a part is incomplete.
        var skip = lines.Offset > 0;
        var pending = new StringBuilder();
        DateTime? time = null;
        var begun = false;
        while (true)
        {
            // Listed before reading: if there already is a next file, this one no longer grows, so it is now read
            // completely.
            var now = await files.ListAsync(cancel);
            if (current is not null)
            {
                await foreach (var line in lines.ReadAsync(current, cancel))
                {
                    var stamp = TimeOf(line);
                    if (stamp is not null)
                    {
                        if (begun && (since is null || time >= since)) yield return new Entry(time, pending.ToString());
                        pending.Clear();
                        (time, begun, skip) = (stamp, true, false);
                    }
                    else if (skip) continue;
                    else begun = true;
                    if (pending.Length > 0) pending.Append('\n');
                    pending.Append(line);
                }
            }
            // In the order of the list: names need not sort by time, and the file that grows is the last.
            var next = current is null ? (now.Count > 0 ? now[^1] : null)
                : now.SkipWhile(f => f.Name != current.Name).Skip(1).FirstOrDefault();
            if (next is not null)
            {
                (current, lines.Offset) = (next, 0);
                continue;
            }
            if (begun && pending.Length > 0 && (since is null || time is null || time >= since))
                yield return new Entry(time, pending.ToString());
            pending.Clear();
            begun = false;
            if (!follow) yield break;
            // Files are polled twice a second, as tail does.
            await Task.Delay(LookEvery, cancel);
        }
    }

    /// <summary>The entry as a slow statement, or null if it is not one.</summary>
    public static Slow? AsSlow(Entry entry)
    {
        var begin = entry.Text.Length <= SlowChars ? entry.Text : entry.Text[..SlowChars];
        if (Duration().Match(begin) is not { Success: true } match) return null;
        var statement = begin[(match.Index + match.Length)..];
        var name = StatementName().Match(statement);
        var text = Blank().Replace(name.Success ? statement[(name.Index + name.Length)..] : statement, " ").Trim();
        return new Slow(entry.At, double.Parse(match.Groups["ms"].Value, CultureInfo.InvariantCulture), name.Success
            ? name.Groups["name"].Value : "-", text);
    }

    DateTime? TimeOf(string line)
    {
        if (Stamp().Match(line) is not { Success: true } match
            || !DateTime.TryParse(match.Groups["time"].Value, CultureInfo.InvariantCulture,
                DateTimeStyles.None, out var local)) return null;
        return TimeZoneInfo.ConvertTimeToUtc(DateTime.SpecifyKind(local, DateTimeKind.Unspecified), files.Zone);
    }

    /// <summary>Whole lines of a growing file, from where the last read ended.</summary>
    sealed class Lines(ILogFiles files)
    {
        public long Offset { get; set; }

        public async IAsyncEnumerable<string> ReadAsync(LogFile file, [EnumeratorCancellation] CancellationToken cancel)
        {
            var left = Array.Empty<byte>();
            while (await files.ReadAsync(file, Offset + left.Length, BlockBytes, cancel) is { Length: > 0 } block)
            {
                byte[] bytes = [.. left, .. block];
                var start = 0;
                while (Array.IndexOf(bytes, (byte)'\n', start) is var end and >= 0)
                {
                    var line = Encoding.UTF8.GetString(bytes, start, end - start);
                    Offset += end + 1 - start;
                    start = end + 1;
                    yield return line;
                }
                left = bytes[start..];
                if (left.Length < MaxLineBytes) continue;
                Offset += left.Length;
                yield return Encoding.UTF8.GetString(left);
                left = [];
            }
        }
    }

    /// <summary>%m or %t at the start of the line, as the private cluster and Debian's servers write it.</summary>
    [GeneratedRegex(@"^(?<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?) ", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Stamp();

    [GeneratedRegex(@"duration: (?<ms>[\d.]+) ms  (statement|execute [^:]*|parse [^:]*|bind [^:]*): ",
        RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Duration();

    [GeneratedRegex(@"^\s*-- (?<name>\w+Sql\.\w+)\s", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex StatementName();

    [GeneratedRegex(@"\s+", RegexOptions.None, 1000)]
    private static partial Regex Blank();
}
