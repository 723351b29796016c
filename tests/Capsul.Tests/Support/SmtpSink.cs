using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Capsul.Tests.Support;

/// <summary>
/// A server that speaks SMTP over TCP (RFC 5321: EHLO, AUTH PLAIN, MAIL, RCPT, DATA, QUIT) and stores what it receives.
/// </summary>
public sealed class SmtpSink : IAsyncDisposable
{
    readonly TcpListener listener;
    readonly CancellationTokenSource stop = new();
    readonly Task accepting;

    public SmtpSink(int port = 0)
    {
        listener = new TcpListener(IPAddress.Loopback, port);
        listener.Start();
        Port = ((IPEndPoint)listener.LocalEndpoint).Port;
        accepting = AcceptAsync();
    }

    public int Port { get; }

    public ConcurrentQueue<(string Recipient, string Text)> Received { get; } = new();

    /// <summary>Credentials of AUTH PLAIN as received: NUL user NUL password.</summary>
    public ConcurrentQueue<string> Credentials { get; } = new();

    /// <summary>Responses to RCPT TO other than 250, by address.</summary>
    public ConcurrentDictionary<string, string> Refuses { get; } = new(StringComparer.Ordinal);

    /// <summary>If set, connections are dropped instead of acknowledging an email's text.</summary>
    public bool HangsUpAfterData { get; set; }

    async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var client = await listener.AcceptTcpClientAsync(stop.Token);
                _ = TalkAsync(client);
            }
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // Stopped.
        }
    }

    async Task TalkAsync(TcpClient client)
    {
        using var _ = client;
        try
        {
            await using var stream = client.GetStream();
            using var reader = new StreamReader(stream, Encoding.Latin1);
            await using var writer = new StreamWriter(stream, Encoding.Latin1) { NewLine = "\r\n", AutoFlush = true };
            await writer.WriteLineAsync("220 sink ESMTP");
            var recipients = new List<string>();
            while (await reader.ReadLineAsync(stop.Token) is { } line)
            {
                if (line.StartsWith("DATA", StringComparison.OrdinalIgnoreCase))
                {
                    await writer.WriteLineAsync("354 continue");
                    var text = await ReadTextAsync(reader);
                    if (HangsUpAfterData)
                        return;
                    foreach (var recipient in recipients)
                        Received.Enqueue((recipient, text));
                    recipients.Clear();
                    await writer.WriteLineAsync("250 kept");
                }
                else
                {
                    await writer.WriteLineAsync(Answer(line, recipients));
                    if (line.StartsWith("QUIT", StringComparison.OrdinalIgnoreCase))
                        return;
                }
            }
        }
        catch (Exception error) when (error is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The client disconnected.
        }
    }

    string Answer(string line, List<string> recipients)
    {
        if (line.StartsWith("EHLO", StringComparison.OrdinalIgnoreCase))
            return "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN";
        if (line.StartsWith("AUTH PLAIN ", StringComparison.OrdinalIgnoreCase))
        {
            Credentials.Enqueue(Encoding.UTF8.GetString(Convert.FromBase64String(line["AUTH PLAIN ".Length..])));
            return "235 welcome";
        }
        if (line.StartsWith("MAIL FROM:", StringComparison.OrdinalIgnoreCase))
        {
            recipients.Clear();
            return "250 fine";
        }
        if (line.StartsWith("RCPT TO:<", StringComparison.OrdinalIgnoreCase))
        {
            var address = line["RCPT TO:<".Length..].Split('>')[0];
            if (Refuses.TryGetValue(address, out var refusal))
                return refusal;
            recipients.Add(address);
            return "250 fine";
        }
        return line.StartsWith("QUIT", StringComparison.OrdinalIgnoreCase) ? "221 bye" : "250 fine";
    }

    async Task<string> ReadTextAsync(StreamReader reader)
    {
        var text = new StringBuilder();
        while (await reader.ReadLineAsync(stop.Token) is { } line && line != ".")
            text.Append(line.StartsWith('.') ? line[1..] : line).Append('\n');
        return text.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        listener.Stop();
        await accepting;
        stop.Dispose();
    }
}
