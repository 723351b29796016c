using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The screen of one simulated machine, and everybody who watches it.</summary>
sealed class SimulatedScreen(string name)
{
    readonly ConcurrentDictionary<SimulatedViewer, bool> viewers = new();
    readonly ConcurrentDictionary<uint, bool> held = new();
    int keys;

    public int Keys => keys;

    public IReadOnlyCollection<uint> Held => [.. held.Keys];

    public Line Open()
    {
        var (here, there) = Line.Pair();
        var viewer = new SimulatedViewer(this, there);
        viewers[viewer] = true;
        _ = ServeAsync(viewer);
        return here;
    }

    async Task ServeAsync(SimulatedViewer viewer)
    {
        await viewer.ServeAsync(name);
        viewers.TryRemove(viewer, out _);
    }

    public void Turn(uint symbol, bool down)
    {
        if (!down)
        {
            held.TryRemove(symbol, out _);
            return;
        }
        held[symbol] = true;
        Interlocked.Increment(ref keys);
        foreach (var viewer in viewers.Keys) viewer.Wake();
    }

    public void Close()
    {
        foreach (var viewer in viewers.Keys) viewer.Close();
    }
}

/// <summary>
/// One viewer, by the RFB protocol (RFC 6143, whose sections are named below). Pixels are raw and have 4 bytes, in the
/// order that the viewer sets.
/// </summary>
sealed class SimulatedViewer(SimulatedScreen screen, Line line)
{
    readonly SemaphoreSlim wake = new(0);
    volatile bool asked, whole, closed;
    int shown = -1;
    int[] shifts = [16, 8, 0];

    public void Wake() => wake.Release();

    public void Close()
    {
        closed = true;
        Wake();
        line.Input.CancelPendingRead();
    }

    public async Task ServeAsync(string name)
    {
        try
        {
            await GreetAsync(name);
            await Task.WhenAll(HearAsync(), ShowAsync());
        }
        catch (Exception error) when (error is IOException or InvalidOperationException)
        {
            // The viewer has gone.
        }
        await line.DisposeAsync();
    }

    /// <summary>7.1 to 7.3: version, no security, and what the screen is like.</summary>
    async Task GreetAsync(string name)
    {
        await SayAsync("RFB 003.008\n"u8.ToArray());
        await ReadAsync(12);
        await SayAsync([1, 1]);
        await ReadAsync(1);
        await SayAsync(new byte[4]);
        await ReadAsync(1);
        var init = new byte[24 + name.Length];
        BinaryPrimitives.WriteUInt16BigEndian(init, Simulated.ScreenWidth);
        BinaryPrimitives.WriteUInt16BigEndian(init.AsSpan(2), Simulated.ScreenHeight);
        ReadOnlySpan<byte> format = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
        format.CopyTo(init.AsSpan(4));
        BinaryPrimitives.WriteInt32BigEndian(init.AsSpan(20), name.Length);
        Encoding.ASCII.GetBytes(name, init.AsSpan(24));
        await SayAsync(init);
    }

    async Task HearAsync()
    {
        try
        {
            while (!closed && await TakeNextAsync()) { }
        }
        finally
        {
            Close();
        }
    }

    /// <summary>7.5: one message of the viewer. False: an unknown one, with which nothing can go on.</summary>
    async Task<bool> TakeNextAsync()
    {
        switch ((await ReadAsync(1))[0])
        {
            case 0:
                shifts = [.. (await ReadAsync(19))[13..16].Select(s => (int)s)];
                return true;
            case 2:
                await ReadAsync(4 * BinaryPrimitives.ReadUInt16BigEndian((await ReadAsync(3)).AsSpan(1)));
                return true;
            case 3:
                if ((await ReadAsync(9))[0] == 0) whole = true;
                asked = true;
                Wake();
                return true;
            case 4:
                var key = await ReadAsync(7);
                screen.Turn(BinaryPrimitives.ReadUInt32BigEndian(key.AsSpan(3)), down: key[0] != 0);
                return true;
            case 5:
                await ReadAsync(5);
                return true;
            default:
                return false;
        }
    }

    /// <summary>7.6.1: a picture for each that is asked for, when there is something new on it.</summary>
    async Task ShowAsync()
    {
        try
        {
            while (!closed)
            {
                await wake.WaitAsync();
                if (closed || !asked || (!whole && shown == screen.Keys)) continue;
                (asked, whole, shown) = (false, false, screen.Keys);
                await SayAsync(Picture(Simulated.ScreenColors[shown % Simulated.ScreenColors.Count]));
            }
        }
        finally
        {
            Close();
        }
    }

    byte[] Picture(uint color)
    {
        var pixel = new byte[4];
        // The fourth byte means nothing in RFB, but noVNC 1.3 takes it for how opaque the pixel is.
        BinaryPrimitives.WriteUInt32LittleEndian(pixel, ((color >> 16) & 255) << shifts[0]
            | ((color >> 8) & 255) << shifts[1] | (color & 255) << shifts[2] | 255u << (48 - shifts.Sum()));
        var update = new byte[16 + 4 * Simulated.ScreenWidth * Simulated.ScreenHeight];
        update[3] = 1;
        BinaryPrimitives.WriteUInt16BigEndian(update.AsSpan(8), Simulated.ScreenWidth);
        BinaryPrimitives.WriteUInt16BigEndian(update.AsSpan(10), Simulated.ScreenHeight);
        for (var at = 16; at < update.Length; at += 4) pixel.CopyTo(update, at);
        return update;
    }

    async Task SayAsync(byte[] bytes)
    {
        var sent = await line.Output.WriteAsync(bytes);
        if (sent.IsCompleted) throw new IOException("The viewer has gone.");
    }

    async Task<byte[]> ReadAsync(int count)
    {
        if (count == 0) return [];
        var read = await line.Input.ReadAtLeastAsync(count);
        if (read.IsCanceled || read.Buffer.Length < count) throw new IOException("The viewer has gone.");
        var bytes = read.Buffer.Slice(0, count).ToArray();
        line.Input.AdvanceTo(read.Buffer.GetPosition(count));
        return bytes;
    }
}
