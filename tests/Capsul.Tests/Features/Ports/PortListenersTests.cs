using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Storage;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Ports;

/// <summary>The Hub's ports, over hosts that behave badly.</summary>
public sealed class PortListenersTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>One that was left open would lead nowhere, and keep the number from whoever opens it next.</summary>
    [Fact]
    public async Task A_port_is_closed_whatever_ends_badly_inside()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var port = Capsul.Foundation.Ports.TakeFree();
        var settings = rows.Settings.With(
            ("CAPSUL_HUB_PORTS", $"{port}-{port}"), ("CAPSUL_HUB_PORTS_LISTEN", "127.0.0.1"));
        var id = await rows.RunningVmAsync(Cancel);
        (await OpenPort.RunAsync(rows.Db, "a", VmRows.Email, id, "80", "hub", settings, rows.Time, Cancel)).OrThrow();

        using var host = new BadHost();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var running = new PortListeners(rows.Db, rows.Fence,
            new Listener(rows.Db, TimeProvider.System, NullLogger<Listener>.Instance), host, settings,
            TimeProvider.System, NullLogger<PortListeners>.Instance).RunAsync(rows.Epoch, stop.Token);
        await Until.TrueAsync("it listens", TimeSpan.FromSeconds(30), () => Until.AnswersAsync(port));
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, port, Cancel);
        await host.Reading.WaitAsync(Until.Patient(TimeSpan.FromSeconds(30)), Cancel);

        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(running);
        (await Until.AnswersAsync(port)).ShouldBeFalse();
    }

    /// <summary>Its connections throw at whoever cancels a read.</summary>
    sealed class BadHost : Stream, IHostPorts, IHostPort
    {
        readonly TaskCompletionSource reading = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>A connection is being read from.</summary>
        public Task Reading => reading.Task;

        public Stream Bytes => this;

        public string Problem => "";

        public Task<Outcome<IHostPort>> ConnectAsync(string host, string vm, int port, CancellationToken cancel) =>
            Task.FromResult<Outcome<IHostPort>>(this);

        public override async ValueTask<int> ReadAsync(
            Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await using var canceled = cancellationToken.Register(
                () => throw new InvalidOperationException("The call is just ending."));
            reading.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
            return 0;
        }

        public Task FinishAsync(CancellationToken cancel) => Task.CompletedTask;

        public override bool CanRead => true;

        public override bool CanWrite => true;

        public override bool CanSeek => false;

        public override long Length => 0;

        public override long Position { get; set; }

        public override void Flush() { }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
