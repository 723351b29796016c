using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>
/// Disks that are passed on. What is in them is checked by the Spoke that receives them; here only kinds, order and
/// sizes count.
/// </summary>
public static partial class Intake
{
    /// <exception cref="RpcException">It is malformed.</exception>
    public static TransferHello Check(TransferHello hello)
    {
        Must(Formats.IsTransferId(hello.Id), "a transfer's id is malformed");
        Must(hello.Direction is Direction.Send or Direction.Receive, "a transfer's direction is unknown");
        return hello;
    }

    /// <summary>Checks the sender's next message: a header, then exactly the data that it announces, then the
    /// end.</summary>
    /// <param name="message">The message.</param>
    /// <param name="left">How many bytes are to come; -1 before the header.</param>
    /// <param name="diskGb">Size of the VM's disk.</param>
    /// <returns>How many bytes are to come after it.</returns>
    /// <exception cref="RpcException">It is malformed, or not its turn.</exception>
    public static long Check(TransferMessage message, long left, int diskGb)
    {
        switch (message.BodyCase)
        {
            case TransferMessage.BodyOneofCase.Header when left < 0:
                var header = message.Header;
                Must(TransferLimits.IsSound(header, diskGb), "the sizes of a disk are out of range");
                return header.DiskBytes + header.KernelBytes + header.InitrdBytes;
            case TransferMessage.BodyOneofCase.Data when left >= 0:
                Must(message.Data.Length is > 0 and <= TransferLimits.MaxChunkBytes && message.Data.Length <= left,
                    "a disk is longer than announced");
                return left - message.Data.Length;
            case TransferMessage.BodyOneofCase.End when left == 0:
                Must(Formats.IsSha256(message.End.Sha256), "a disk's checksum is malformed");
                return 0;
            default:
                Must(false, "a message of a transfer came out of turn");
                return left;
        }
    }
}
