using Capsul.Foundation;

namespace Capsul.Postgres.Backups;

/// <summary>
/// Encrypts backups with age (age-encryption.org) or gpg, depending on the recipient's key. Only public keys are needed
/// here; decryption needs the private key, which Capsul never stores.
/// </summary>
public static class Encryption
{
    static readonly TimeSpan Limit = TimeSpan.FromHours(24);

    /// <summary>Suffix of the file's name.</summary>
    public static string Extension(string recipient) => IsAge(recipient) ? ".age" : ".gpg";

    /// <summary>Writes the file atomically; returns its size in bytes.</summary>
    /// <exception cref="ProblemException">Unavailable: the program is missing, or does not know the
    /// recipient.</exception>
    public static Task<long> WriteAsync(string plain, string file, string recipient, CancellationToken cancel)
    {
        var command = IsAge(recipient)
            ? new Command("age", "--encrypt", "--recipient", recipient)
            : new Command("gpg", "--batch", "--yes", "--trust-model",
                "always", "--recipient", recipient, "--encrypt", "--output", "-");
        return Dump.WriteWholeAsync(file, (disk, stop) => RunAsync(command with
        {
            Timeout = Limit,
            WriteInput = async (input, token) =>
            {
                await using var source = File.OpenRead(plain);
                await source.CopyToAsync(input, token);
            },
            ReadOutput = (output, token) => output.CopyToAsync(disk, token),
        }, stop), cancel);
    }

    /// <summary>age reports the error in its first line; its last line is where to report bugs in age.</summary>
    static async Task RunAsync(Command command, CancellationToken cancel)
    {
        var result = await command.TryRunAsync(cancel);
        if (result.ExitCode == 0) return;
        var says = result.Error.Split('\n').FirstOrDefault(l => l.Contains("error", StringComparison.Ordinal))
            ?? result.LastLine;
        throw new ProblemException(ProblemKind.Unavailable, $"{command.Program}: {says.Trim()}", result.Error);
    }

    /// <summary>
    /// Decrypts a file. <paramref name="identity"/> is the file with an age private key; gpg uses its own agent.
    /// </summary>
    /// <exception cref="ProblemException">Invalid: age needs an identity. Unavailable: wrong key, or the file is
    /// damaged.</exception>
    public static Task ReadAsync(
        string file, bool age, string? identity, Func<Stream, CancellationToken, Task> read, CancellationToken cancel)
    {
        if (age && identity is null)
            throw new ProblemException(ProblemKind.Invalid,
            $"{file} is encrypted with age; pass the file with its private key as --identity.");
        var command = age ? new Command("age", "--decrypt", "--identity", identity!, file)
            : new Command("gpg", "--batch", "--decrypt", file);
        return RunAsync(command with { Timeout = Limit, ReadOutput = read }, cancel);
    }

    static bool IsAge(string recipient) => recipient.StartsWith("age1", StringComparison.Ordinal)
        || recipient.StartsWith("ssh-", StringComparison.Ordinal);
}
