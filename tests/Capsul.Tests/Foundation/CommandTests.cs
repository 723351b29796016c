using Capsul.Foundation;

namespace Capsul.Tests.Foundation;

public sealed class CommandTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_program_whose_output_cannot_be_written_is_killed_with_the_reason()
    {
        var endless = new Command("cat", "/dev/zero")
        {
            Timeout = TimeSpan.FromSeconds(30),
            ReadOutput = async (output, cancel) =>
            {
                await output.ReadExactlyAsync(new byte[1000], cancel);
                throw new IOException("No space left on device");
            },
        };
        (await Should.ThrowAsync<IOException>(() => endless.TryRunAsync(Cancel)))
            .Message.ShouldBe("No space left on device");
    }
}
