using System.Text;
using Capsul.Postgres.Statements;

namespace Capsul.Tests.Support;

/// <summary>The output of one call of <c>capsul sql</c>, without starting the program.</summary>
public sealed record TypedSql(string Output, string Notes)
{
    public static Task<TypedSql> RunAsync(TestDatabase database, params string[] texts) =>
        RunAsync(database, RowFormat.Text, texts);

    public static async Task<TypedSql> RunAsync(TestDatabase database, RowFormat format, params string[] texts) =>
        await RunAsync(database, format, header: true,
            new RunOptions("test@here", ReadOnly: false, TimeSpan.Zero), "", texts);

    public static async Task<TypedSql> RunAsync(
        TestDatabase database, RowFormat format, bool header, RunOptions options, string input, params string[] texts)
    {
        var cancel = TestContext.Current.CancellationToken;
        await using var output = new MemoryStream();
        await using var notes = new StringWriter { NewLine = "\n" };
        var script = Script.Read(texts.Select(
            (t, n) => new ScriptPart(texts.Length == 1 ? "" : $"part {n + 1}", t, Inline: input.Length == 0)));
        await using var run = await StatementRun.OpenAsync(
            database.Db, RowOutput.Make(format, header && format != RowFormat.Text, output, notes), notes,
            new MemoryStream(Encoding.UTF8.GetBytes(input)), options, cancel);
        await run.RunAsync(script, cancel);
        return new TypedSql(Encoding.UTF8.GetString(output.ToArray()), notes.ToString());
    }

    /// <summary>The message of the expected refusal.</summary>
    public static async Task<string> RefusalAsync(TestDatabase database, params string[] texts) =>
        (await Should.ThrowAsync<StatementException>(() => RunAsync(database, texts))).Message;
}
