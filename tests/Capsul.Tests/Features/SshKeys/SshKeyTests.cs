using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.SshKeys;
using CsCheck;

namespace Capsul.Tests.Features.SshKeys;

public sealed class SshKeyTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly string[] Types =
    [
        "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
    ];

    [Theory]
    [InlineData("ed25519", "256")]
    [InlineData("ecdsa", "256")]
    [InlineData("ecdsa", "384")]
    [InlineData("ecdsa", "521")]
    [InlineData("rsa", "2048")]
    [InlineData("rsa", "3072")]
    public async Task Reads_the_keys_of_ssh_keygen_and_computes_the_same_fingerprint(string type, string bits)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-keys-");
        try
        {
            var file = Path.Combine(folder.FullName, "id");
            await new Command("ssh-keygen", "-q", "-t", type, "-b", bits, "-N", "", "-C", "ada@engine room", "-f", file)
                .RunAsync(Cancel);
            var text = await File.ReadAllTextAsync(file + ".pub", Cancel);
            var key = SshKey.Parse(text).OrThrow();
            var listed = (await new Command("ssh-keygen", "-lf", file + ".pub").RunAsync(Cancel)).Output.Split(' ');
            key.Fingerprint.ShouldBe(listed[1]);
            key.Comment.ShouldBe("ada@engine room");
            (key.Line + " " + key.Comment).ShouldBe(text.Trim());

            SshKey.Parse(await File.ReadAllTextAsync(file, Cancel)).Problem!.Message.ShouldContain(
                "treat it as leaked");
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Reads_security_keys_with_ssh_keygens_fingerprint()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-keys-");
        try
        {
            foreach (var line in new[] { SkEd25519(), SkEcdsa() })
            {
                var file = Path.Combine(folder.FullName, "key.pub");
                await File.WriteAllTextAsync(file, line + "\n", Cancel);
                var listed = (await new Command("ssh-keygen", "-lf", file).RunAsync(Cancel)).Output.Split(' ');
                SshKey.Parse(line).OrThrow().Fingerprint.ShouldBe(listed[1]);
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Never_throws_whatever_is_pasted() => Gen.String.Sample(
        text => SshKey.Parse(text) is { } outcome && (outcome.Value is null) != (outcome.Problem is null));

    [Fact]
    public void Never_throws_whatever_is_inside_the_base64() =>
        Gen.Select(Gen.Int[0, Types.Length - 1].Select(i => Types[i]), Gen.Byte.Array[0, 300], Gen.Byte.Array[0, 80])
            .Sample((type, first, second) =>
            {
                var outcome = SshKey.Parse(Line(type, String(type), String(first), String(second)));
                return (outcome.Value is null) != (outcome.Problem is null);
            });

    [Fact]
    public void An_accepted_key_parses_to_the_same_again() =>
        Gen.Select(Gen.Byte.Array[32], Gen.String[Gen.Char.AlphaNumeric, 0, 20]).Sample((point, comment) =>
        {
            var key = SshKey.Parse(Line("ssh-ed25519", String("ssh-ed25519"), String(point)) + " " + comment).OrThrow();
            return SshKey.Parse(key.Line + " " + key.Comment).OrThrow() == key;
        });

    [Fact]
    public void A_key_with_one_byte_changed_in_its_frame_is_refused()
    {
        var blob = Join(String("ssh-ed25519"), String(RandomNumberGenerator.GetBytes(32)));
        for (var i = 0; i < 19; i++)
        {
            var changed = (byte[])blob.Clone();
            changed[i] ^= 0x41;
            SshKey.Parse($"ssh-ed25519 {Convert.ToBase64String(changed)}").Problem.ShouldNotBeNull($"byte {i}");
        }
    }

    public static TheoryData<string, string> Refused => new()
    {
        { "", "Paste a public key" },
        { "   \n ", "Paste a public key" },
        { "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----",
            "treat it as leaked" },
        { "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "treat it as leaked" },
        { "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + new string('A', 20_000), "treat it as leaked" },
        { "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "treat it as leaked" },
        { "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "another format" },
        { "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----", "another format" },
        { "ssh-dss AAAAB3NzaC1kc3MAAACBAP ada", "DSA" },
        { "ssh-ed25519-cert-v01@openssh.com AAAA ada", "certificate" },
        { "no-pty,command=\"date\" " + Ed25519(), "options before" },
        { "AAAAC3NzaC1lZDI1NTE5AAAAIJ0", "type in front" },
        { "ssh-ed448 AAAA", "does not begin with a type" },
        { Ed25519() + "\n" + Ed25519(), "more than one line" },
        { Ed25519() + " a\u0001b", "control character" },
        { Ed25519() + " " + new string('x', SshKey.MaxChars), "too long" },
        { "ssh-ed25519", "only the beginning" },
        { "ssh-ed25519 AAAA*", "base64" },
        { Ed25519()[..59], "base64" },
        { "ssh-ed25519 AAAA", "cut off" },
        { Line("ssh-ed25519", String("ssh-rsa"), String(new byte[32])), "another type" },
        { Line("ssh-ed25519", String("ssh-ed25519"), String(new byte[31])), "32 bytes" },
        { Line("ssh-ed25519", String("ssh-ed25519"), String(new byte[32]), [0]), "after the end" },
        { Line("ecdsa-sha2-nistp256", String("ecdsa-sha2-nistp256"), String("nistp384"), String(new byte[65])),
            "not the one of its type" },
        { Line("ecdsa-sha2-nistp256", String("ecdsa-sha2-nistp256"), String("nistp256"), String(new byte[97])),
            "length and form" },
        { Line("ecdsa-sha2-nistp256", String("ecdsa-sha2-nistp256"),
            String("nistp256"), String([4, .. new byte[63], 1])), "on its curve" },
        { Rsa(1024), "1024 bits" },
        { Line("ssh-rsa", String("ssh-rsa"), String([1, 0, 1]), String([0, 0, .. new byte[256]])), "not encoded" },
        { Line("ssh-rsa", String("ssh-rsa"), String([0x80]), String([0x7f, .. new byte[255]])), "not encoded" },
        { Line("ssh-rsa", String("ssh-rsa"), String([1, 0, 0]), String([0x7f, .. new byte[256]])), "working key" },
        { Line("sk-ssh-ed25519@openssh.com", String("sk-ssh-ed25519@openssh.com"), String(new byte[32])), "cut off" },
    };

    [Theory, MemberData(nameof(Refused))]
    public void Each_refusal_states_its_reason(string text, string reason)
    {
        var problem = SshKey.Parse(text).Problem.ShouldNotBeNull();
        problem.Kind.ShouldBe(ProblemKind.Invalid);
        problem.Message.ShouldContain(reason, Case.Sensitive);
    }

    static string Ed25519() =>
        Line("ssh-ed25519", String("ssh-ed25519"), String([.. Enumerable.Range(1, 32).Select(i => (byte)i)]));

    static string SkEd25519() =>
        Line("sk-ssh-ed25519@openssh.com", String("sk-ssh-ed25519@openssh.com"),
            String(RandomNumberGenerator.GetBytes(32)), String("ssh:")) + " token";

    static string SkEcdsa()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var point = key.ExportParameters(includePrivateParameters: false).Q;
        return Line("sk-ecdsa-sha2-nistp256@openssh.com",
            String("sk-ecdsa-sha2-nistp256@openssh.com"), String("nistp256"),
            String([4, .. point.X!, .. point.Y!]), String("ssh:")) + " token";
    }

    static string Rsa(int bits) =>
        Line("ssh-rsa", String("ssh-rsa"), String([1, 0, 1]), String([0, 0x80, .. new byte[bits / 8 - 2], 1]));

    static string Line(string type, params byte[][] parts) => $"{type} {Convert.ToBase64String(Join(parts))}";

    static byte[] Join(params byte[][] parts) => [.. parts.SelectMany(p => p)];

    static byte[] String(string text) => String(Encoding.ASCII.GetBytes(text));

    static byte[] String(byte[] bytes)
    {
        var framed = new byte[4 + bytes.Length];
        BinaryPrimitives.WriteInt32BigEndian(framed, bytes.Length);
        bytes.CopyTo(framed, 4);
        return framed;
    }
}
