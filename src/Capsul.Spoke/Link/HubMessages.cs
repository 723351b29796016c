using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Link;

/// <summary>
/// Receives the Hub's messages on one connection: the welcome with the token for the next one, wanted states, which are
/// acknowledged when they are applied, and answers to heartbeats.
/// </summary>
sealed partial class HubMessages(
    HostVms vms, HubAddresses hubs, ConnectionToken token, ChannelWriter<SpokeMessage> sending, ReplyWatch replies,
    Action<OpenStream> open, string address, ILogger log)
{
    bool answers, tokenStored;

    /// <summary>Called once if the Hub takes what VMs have used.</summary>
    public Action TakesUsage { get; init; } = () => { };

    public async Task ReceiveAsync(IAsyncStreamReader<HubMessage> down, CancellationToken cancel)
    {
        while (await down.MoveNext(cancel))
        {
            // Whatever it sends, it lives.
            replies.Received();
            switch (down.Current.BodyCase)
            {
                case HubMessage.BodyOneofCase.Welcome:
                    await WelcomeAsync(down.Current.Welcome, cancel);
                    break;
                case HubMessage.BodyOneofCase.Wanted:
                    await ApplyAsync(down.Current.Wanted, cancel);
                    break;
                case HubMessage.BodyOneofCase.Open:
                    open(down.Current.Open);
                    break;
                case HubMessage.BodyOneofCase.Heartbeat:
                case HubMessage.BodyOneofCase.None:
                    break;
                default:
                    throw new ProblemException(ProblemKind.Invalid,
                        "The Hub sent a message that this Spoke does not recognize.");
            }
        }
    }

    async Task WelcomeAsync(Welcome welcome, CancellationToken cancel)
    {
        if (welcome.Protocol > 0 && Protocol.Refusal(Protocol.Version, welcome.Protocol) is { Length: > 0 } refusal)
            throw new ProblemException(ProblemKind.Conflict, refusal);
        Log.Connected(log, address, welcome.HostId, welcome.Epoch);
        if (welcome.TakesUsage) TakesUsage();
        // A Hub of protocol version 2 gives no token, and answers neither heartbeats nor acknowledgments.
        answers = welcome.Token.Length == Protocol.TokenBytes;
        if (!answers) return;
        replies.Begin();
        tokenStored = await token.TryStoreAsync(welcome.Token.ToByteArray(), cancel);
        try
        {
            await hubs.KeepAsync(welcome.Hubs, cancel);
        }
        catch (IOException error)
        {
            Log.NotStored(log, error.Message);
        }
        if (!welcome.WantsRecords) return;
        Log.Rebuilding(log);
        foreach (var part in vms.RecoveryRecords())
            await sending.WriteAsync(new SpokeMessage { Records = part }, cancel);
    }

    async Task ApplyAsync(Wanted wanted, CancellationToken cancel)
    {
        if (!await vms.ApplyAsync(wanted, cancel))
            throw new ProblemException(ProblemKind.Conflict,
                "The Hub at the other end has an outdated epoch; its message was ignored.");
        if (answers)
            await sending.WriteAsync(new SpokeMessage
            {
                Applied = new Applied
                {
                    Epoch = wanted.Epoch,
                    Generation = wanted.Generation,
                    TokenStored = tokenStored,
                },
            }, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(430, LogLevel.Information, "Connected to the Hub at {Address} as host {Host} (epoch {Epoch})")]
        public static partial void Connected(ILogger log, string address, string host, long epoch);

        [LoggerMessage(433, LogLevel.Warning,
            "The Hub's database is being rebuilt; sending the recovery records of this host's VMs")]
        public static partial void Rebuilding(ILogger log);

        [LoggerMessage(432, LogLevel.Warning, "The addresses of the Hubs could not be stored: {Why}")]
        public static partial void NotStored(ILogger log, string why);
    }
}
