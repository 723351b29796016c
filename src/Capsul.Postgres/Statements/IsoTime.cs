namespace Capsul.Postgres.Statements;

/// <summary>
/// Timestamps as ISO 8601 with a T, as in the documented examples: <c>2020-05-05T00:00:00</c>, six fractional digits if
/// they are not all zero, no zone if it is UTC. Other values (infinity, years before 1, another DateStyle) stay as
/// PostgreSQL prints them.
/// </summary>
public static class IsoTime
{
    /// <summary>"00:00:00".</summary>
    const int TimeLength = 8;

    /// <summary>"0000-00-00".</summary>
    const int ShortestDay = 10;

    /// <param name="text">PostgreSQL's output, followed by at least eight bytes of free space.</param>
    /// <param name="length">Its length.</param>
    /// <returns>Its new length.</returns>
    public static int Rewrite(Span<byte> text, int length)
    {
        var blank = text[..length].IndexOf((byte)' ');
        if (blank < ShortestDay || text[blank - 3] != '-' || blank + 1 + TimeLength > length || text[blank + 3] != ':')
            return length;
        if (text[length - 1] == 'C') return length;
        text[blank] = (byte)'T';
        if (text[..length].EndsWith("+00"u8)) length -= 3;
        return PadFraction(text, blank + 1 + TimeLength, length);
    }

    /// <summary>.5 becomes .500000.</summary>
    static int PadFraction(Span<byte> text, int point, int length)
    {
        if (point >= length || text[point] != '.') return length;
        var end = point + 1;
        while (end < length && char.IsAsciiDigit((char)text[end])) end++;
        var missing = point + 7 - end;
        if (missing <= 0) return length;
        text[end..length].CopyTo(text[(end + missing)..]);
        text.Slice(end, missing).Fill((byte)'0');
        return length + missing;
    }
}
