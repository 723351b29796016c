using System.Security.Cryptography;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>Disks through a real Hub, between Spokes that a test controls.</summary>
public sealed class TransferTests
{
    const string Id = "0123456789abcdef0123456789abcdef";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>One end of a transfer.</summary>
    sealed class End(Identity identity, Direction direction, string id = Id, int port = 0) : IDisposable
    {
        readonly Grpc.Net.Client.GrpcChannel channel =
            port == 0 ? identity.Open() : identity.OpenAt($"127.0.0.1:{port}");
        AsyncDuplexStreamingCall<TransferMessage, TransferMessage> call = null!;

        public async Task<End> OpenAsync()
        {
            call = new HubLink.HubLinkClient(channel).Transfer(cancellationToken: Cancel);
            await SayAsync(new TransferMessage { Hello = new TransferHello { Id = id, Direction = direction } });
            return this;
        }

        public async Task SayAsync(TransferMessage message)
        {
            try
            {
                await call.RequestStream.WriteAsync(message, Cancel);
            }
            catch (Exception error) when (error is RpcException or InvalidOperationException)
            {
                // The Hub has ended it; NextAsync says why.
            }
        }

        public Task SendAsync(byte[] data) =>
            SayAsync(new TransferMessage { Data = UnsafeByteOperations.UnsafeWrap(data) });

        public async Task<TransferMessage?> NextAsync()
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
            limit.CancelAfter(TimeSpan.FromMinutes(2));
            return await call.ResponseStream.MoveNext(limit.Token) ? call.ResponseStream.Current : null;
        }

        public async Task<StatusCode> RefusalAsync()
        {
            try
            {
                while (await NextAsync() is not null) { }
                return StatusCode.OK;
            }
            catch (RpcException error)
            {
                return error.StatusCode;
            }
        }

        public void Dispose()
        {
            call?.Dispose();
            channel.Dispose();
        }
    }

    /// <summary>A VM of 1 GiB that moves from rack1 to rack2.</summary>
    static async Task<(LinkHub Link, Identity From, Identity To)> StartAsync()
    {
        var link = await LinkHub.StartAsync();
        var (from, to) = (await link.JoinAsync("rack1"), await link.JoinAsync("rack2"));
        await link.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES ('ada@example.org');
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'T', 'u', 1, 64);
            INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
                vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
            VALUES ('capsul-0123456789', 'ada@example.org', 'web', 'f1-s', 'tiny', @sha, 'u', 'rack1', now(), 7.5, 1,
                512, 1, 'moving', 'off', 1);
            INSERT INTO moves (vm, from_host, to_host, transfer, was, started, copy_host, copy_generation, vcpus,
                memory_mb, disk_gb)
            VALUES ('capsul-0123456789', 'rack1', 'rack2', @id, 'running', now(), 'rack2', 1, 1, 512, 1)
            """, new { id = Id, sha = VmRows.ImageSha256 }, Cancel);
        return (link, from, to);
    }

    static TransferMessage Header(long bytes) => new() { Header = new TransferHeader { DiskBytes = bytes } };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_one_sends_arrives_at_the_other_in_order_whoever_comes_first(bool senderFirst)
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        using var sender = new End(from, Direction.Send);
        using var receiver = new End(to, Direction.Receive);
        foreach (var end in senderFirst ? (End[])[sender, receiver] : [receiver, sender]) await end.OpenAsync();
        (await sender.NextAsync())!.Ready.ShouldNotBeNull();
        (await receiver.NextAsync())!.Ready.ShouldNotBeNull();
        var parts = Enumerable.Range(0, 8).Select(_ => RandomNumberGenerator.GetBytes(200_000)).ToList();
        await sender.SayAsync(Header(1_600_000));
        var sending = Task.Run(async () =>
        {
            foreach (var part in parts) await sender.SendAsync(part);
            await sender.SayAsync(new TransferMessage { End = new TransferEnd { Sha256 = VmRows.ImageSha256 } });
        }, Cancel);
        (await receiver.NextAsync())!.Header.DiskBytes.ShouldBe(1_600_000);
        foreach (var part in parts) (await receiver.NextAsync())!.Data.ToByteArray().ShouldBe(part);
        (await receiver.NextAsync())!.End.Sha256.ShouldBe(VmRows.ImageSha256);
        await sending;
        (await receiver.NextAsync()).ShouldBeNull();
        (await sender.NextAsync()).ShouldBeNull();
    }

    [Fact]
    public async Task Nobody_else_takes_part_and_nobody_in_another_role()
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        var stranger = await link.JoinAsync("rack3");
        foreach (var (who, direction, id) in ((Identity, Direction, string)[])[(stranger, Direction.Send, Id),
            (stranger, Direction.Receive, Id), (from, Direction.Receive, Id), (to, Direction.Send, Id),
            (from, Direction.Send, new string('a', 32))])
        {
            using var end = await new End(who, direction, id).OpenAsync();
            (await end.RefusalAsync()).ShouldBe(StatusCode.PermissionDenied);
        }
        using (var end = await new End(from, Direction.Send, "../../etc/passwd").OpenAsync())
            (await end.RefusalAsync()).ShouldBe(StatusCode.InvalidArgument);
        await link.Db.ExecuteAsync("UPDATE moves SET ended = now(), copy_wanted = 'gone'", null, Cancel);
        using var late = await new End(from, Direction.Send).OpenAsync();
        (await late.RefusalAsync()).ShouldBe(StatusCode.PermissionDenied);
    }

    public static TheoryData<string> Lies => ["a disk that is too large", "more than announced", "less than announced",
        "no header", "two headers", "a hello again"];

    [Theory, MemberData(nameof(Lies))]
    public async Task A_sender_that_lies_ends_the_transfer_and_the_receiver_learns_it(string lie)
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        using var sender = await new End(from, Direction.Send).OpenAsync();
        using var receiver = await new End(to, Direction.Receive).OpenAsync();
        (await sender.NextAsync())!.Ready.ShouldNotBeNull();
        (await receiver.NextAsync())!.Ready.ShouldNotBeNull();
        var end = new TransferMessage { End = new TransferEnd { Sha256 = VmRows.ImageSha256 } };
        if (lie == "a disk that is too large") await sender.SayAsync(Header(2L << 30));
        else if (lie != "no header") await sender.SayAsync(Header(10));
        await sender.SendAsync(new byte[lie == "more than announced" ? 11 : 5]);
        if (lie == "two headers") await sender.SayAsync(Header(10));
        else if (lie == "a hello again")
            await sender.SayAsync(new TransferMessage { Hello = new TransferHello { Id = Id } });
        else await sender.SayAsync(end);
        (await sender.RefusalAsync()).ShouldBe(StatusCode.InvalidArgument);
        (await receiver.RefusalAsync()).ShouldBe(StatusCode.InvalidArgument);
    }

    [Fact]
    public async Task When_one_end_leaves_the_other_is_told_and_both_may_come_again()
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        using var sender = await new End(from, Direction.Send).OpenAsync();
        using (var receiver = await new End(to, Direction.Receive).OpenAsync())
        {
            (await sender.NextAsync())!.Ready.ShouldNotBeNull();
            (await receiver.NextAsync())!.Ready.ShouldNotBeNull();
        }
        (await sender.RefusalAsync()).ShouldBe(StatusCode.Aborted);
        using var again = await new End(from, Direction.Send).OpenAsync();
        using var other = await new End(to, Direction.Receive).OpenAsync();
        (await again.NextAsync())!.Ready.ShouldNotBeNull();
        (await other.NextAsync())!.Ready.ShouldNotBeNull();
    }

    [Fact]
    public async Task A_sender_whose_machine_vanishes_without_a_word_does_not_keep_the_receiver_waiting()
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        await using var crossing = new Crossing(link.Hub.LinkPort);
        using var sender = await new End(from, Direction.Send, port: crossing.Port).OpenAsync();
        using var receiver = await new End(to, Direction.Receive).OpenAsync();
        (await sender.NextAsync())!.Ready.ShouldNotBeNull();
        (await receiver.NextAsync())!.Ready.ShouldNotBeNull();
        crossing.Freeze();
        (await receiver.RefusalAsync()).ShouldBe(StatusCode.Aborted);
    }

    [Fact]
    public async Task A_move_that_is_given_up_ends_its_transfer()
    {
        var (link, from, to) = await StartAsync();
        await using var _ = link;
        using var sender = await new End(from, Direction.Send).OpenAsync();
        using var receiver = await new End(to, Direction.Receive).OpenAsync();
        (await sender.NextAsync())!.Ready.ShouldNotBeNull();
        await link.Db.ExecuteAsync("UPDATE moves SET ended = now(), copy_wanted = 'gone'", null, Cancel);
        (await sender.RefusalAsync()).ShouldBe(StatusCode.Aborted);
        (await receiver.RefusalAsync()).ShouldBe(StatusCode.Aborted);
    }
}
