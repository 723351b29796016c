using System.Buffers.Binary;
using System.Text;

namespace Capsul.Tests.Support;

/// <summary>A small viewer by the RFB protocol (RFC 6143, whose sections are named below).</summary>
public sealed class RfbClient : IAsyncDisposable
{
    const int PixelBytes = 4, DesktopSize = -223;

    readonly Stream stream;

    RfbClient(Stream stream) => this.stream = stream;

    public int Width { get; private set; }

    public int Height { get; private set; }

    public string Name { get; private set; } = "";

    /// <summary>7.1 to 7.3: without security, shared with others, with raw pixels of red, green, blue.</summary>
    public static async Task<RfbClient> ConnectAsync(Stream stream, CancellationToken cancel)
    {
        var client = new RfbClient(stream);
        Encoding.ASCII.GetString(await client.ReadAsync(12, cancel)).ShouldBe("RFB 003.008\n");
        await stream.WriteAsync("RFB 003.008\n"u8.ToArray(), cancel);
        var types = await client.ReadAsync((await client.ReadAsync(1, cancel))[0], cancel);
        types.ShouldContain((byte)1, "no security is offered");
        await stream.WriteAsync(new byte[] { 1 }, cancel);
        (await client.ReadAsync(4, cancel)).ShouldBe(new byte[4]);
        await stream.WriteAsync(new byte[] { 1 }, cancel);
        var init = await client.ReadAsync(24, cancel);
        (client.Width, client.Height) = (Number(init, 0), Number(init, 2));
        client.Name = Encoding.UTF8.GetString(
            await client.ReadAsync(BinaryPrimitives.ReadInt32BigEndian(init.AsSpan(20)), cancel));
        await stream.WriteAsync(
            new byte[] { 0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0 }, cancel);
        await stream.WriteAsync(new byte[] { 2, 0, 0, 2, 0, 0, 0, 0, 255, 255, 255, 33 }, cancel);
        return client;
    }

    /// <summary>7.5.4.</summary>
    public async Task KeyAsync(uint symbol, bool down, CancellationToken cancel)
    {
        var message = new byte[8];
        (message[0], message[1]) = (4, down ? (byte)1 : (byte)0);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(4), symbol);
        await stream.WriteAsync(message, cancel);
    }

    public async Task PressAsync(IReadOnlyList<uint> symbols, CancellationToken cancel)
    {
        foreach (var symbol in symbols) await KeyAsync(symbol, down: true, cancel);
        foreach (var symbol in symbols.Reverse()) await KeyAsync(symbol, down: false, cancel);
    }

    /// <summary>7.5.3 and 7.6.1: the whole screen now; red, green and blue of each pixel.</summary>
    public async Task<uint[]> PictureAsync(CancellationToken cancel)
    {
        while (true)
        {
            var ask = new byte[10];
            ask[0] = 3;
            BinaryPrimitives.WriteUInt16BigEndian(ask.AsSpan(6), (ushort)Width);
            BinaryPrimitives.WriteUInt16BigEndian(ask.AsSpan(8), (ushort)Height);
            await stream.WriteAsync(ask, cancel);
            var picture = new uint[Width * Height];
            await SkipToUpdateAsync(cancel);
            var isWhole = true;
            for (var n = Number(await ReadAsync(3, cancel), 1); n > 0; n--) isWhole &= await DrawAsync(picture, cancel);
            if (isWhole) return picture;
        }
    }

    /// <summary>7.6.3 and 7.6.4: bells and clipboards may come between.</summary>
    async Task SkipToUpdateAsync(CancellationToken cancel)
    {
        while (true)
        {
            var type = (await ReadAsync(1, cancel))[0];
            if (type == 0) return;
            if (type == 2) continue;
            type.ShouldBe((byte)3);
            await ReadAsync(BinaryPrimitives.ReadInt32BigEndian((await ReadAsync(7, cancel)).AsSpan(3)), cancel);
        }
    }

    /// <summary>False: the screen has another size from now on (7.8.2), and what was asked for does not come.</summary>
    async Task<bool> DrawAsync(uint[] picture, CancellationToken cancel)
    {
        var head = await ReadAsync(12, cancel);
        var (x, y, width, height) = (Number(head, 0), Number(head, 2), Number(head, 4), Number(head, 6));
        var encoding = BinaryPrimitives.ReadInt32BigEndian(head.AsSpan(8));
        if (encoding == DesktopSize)
        {
            (Width, Height) = (width, height);
            return false;
        }
        encoding.ShouldBe(0, "raw, as was asked for");
        (x + width).ShouldBeLessThanOrEqualTo(Width);
        (y + height).ShouldBeLessThanOrEqualTo(Height);
        var pixels = await ReadAsync(PixelBytes * width * height, cancel);
        for (var at = 0; at < width * height; at++)
            picture[(y + at / width) * Width + x + at % width] =
                BinaryPrimitives.ReadUInt32LittleEndian(pixels.AsSpan(PixelBytes * at)) & 0xffffff;
        return true;
    }

    static int Number(byte[] bytes, int at) => BinaryPrimitives.ReadUInt16BigEndian(bytes.AsSpan(at));

    async Task<byte[]> ReadAsync(int count, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Until.Patient(TimeSpan.FromSeconds(60)));
        var bytes = new byte[count];
        await stream.ReadExactlyAsync(bytes, limit.Token);
        return bytes;
    }

    public ValueTask DisposeAsync() => stream.DisposeAsync();
}
