namespace Capsul.Postgres.Backups;

/// <summary>
/// pg_dump writes BEGIN and COMMIT around the large objects of a plain dump, which would end the one transaction of a
/// restore. This copies a dump without these two lines. They are recognized by the heading of pg_dump's section, and by
/// what is between them (pg_backup_archiver.c, StartRestoreLOs); rows of a COPY are never examined.
/// </summary>
static class LargeObjects
{
    /// <summary>Lines up to this length are examined; longer ones pass. Bytes.</summary>
    const int BufferSize = 1 << 18;

    enum Place { Elsewhere, Copy, Heading, Section }

    public static async Task CopyAsync(Stream dump, Stream to, CancellationToken cancel)
    {
        var buffer = new byte[BufferSize];
        var filter = new Filter();
        var kept = 0;
        while (await dump.ReadAsync(buffer.AsMemory(kept), cancel) is var count and > 0)
        {
            kept = filter.Pass(buffer, kept + count);
            await to.WriteAsync(filter.Passed, cancel);
            filter.Clear();
        }
        await to.WriteAsync(buffer.AsMemory(0, kept), cancel);
    }

    /// <summary>Consumes whole lines from a buffer.</summary>
    sealed class Filter
    {
        readonly MemoryStream passed = new(2 * BufferSize);
        Place place;

        /// <summary>The next bytes continue a line that was longer than the buffer.</summary>
        bool within;

        public ReadOnlyMemory<byte> Passed => passed.GetBuffer().AsMemory(0, (int)passed.Length);

        public void Clear() => passed.SetLength(0);

        /// <summary>Passes on what it can; returns how many bytes are left, moved to the start of the buffer.</summary>
        public int Pass(byte[] buffer, int count)
        {
            var from = 0;
            while (buffer.AsSpan(from, count - from).IndexOf((byte)'\n') is var length and >= 0)
            {
                var line = buffer.AsSpan(from, length).TrimEnd((byte)'\r');
                if (within || IsKept(line)) passed.Write(buffer, from, length + 1);
                within = false;
                from += length + 1;
            }
            if (from == 0 && count == buffer.Length)
            {
                passed.Write(buffer, 0, count);
                within = true;
                return 0;
            }
            buffer.AsSpan(from, count - from).CopyTo(buffer);
            return count - from;
        }

        bool IsKept(ReadOnlySpan<byte> line)
        {
            if (place == Place.Copy)
            {
                if (line.SequenceEqual("\\."u8)) place = Place.Elsewhere;
                return true;
            }
            if (line.StartsWith("COPY "u8) && line.EndsWith(" FROM stdin;"u8)) place = Place.Copy;
            else if (place == Place.Section) return InSection(line);
            else if (line.StartsWith("-- Data for Name: "u8) && line.IndexOf("; Type: BLOBS; "u8) > 0)
                place = Place.Heading;
            else if (place == Place.Heading && line.SequenceEqual("BEGIN;"u8))
            {
                place = Place.Section;
                return false;
            }
            else if (place == Place.Heading && line.Length > 0 && !line.SequenceEqual("--"u8)) place = Place.Elsewhere;
            return true;
        }

        bool InSection(ReadOnlySpan<byte> line)
        {
            if (!line.SequenceEqual("COMMIT;"u8)) return true;
            place = Place.Elsewhere;
            return false;
        }
    }
}
