using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

public sealed class DunningVerbTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_operator_adds_and_removes_steps()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("dunning"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        };
        (await RunAsync("add", "mail", "--behind", "3", "--email", "last_notice", "--after", "48"))
            .ShouldContain("Step 4 is new.");
        (await RunAsync("add", "explode")).ShouldContain("mail, stop or delete");
        (await RunAsync("add", "stop", "--behind", "2", "--after", "24")).ShouldContain("an email is sent");
        (await RunAsync("show")).ShouldContain("last_notice");
        (await RunAsync("remove", "4")).ShouldContain("Removed step 4.");
        (await database.Db.AskAsync<string>(
            "SELECT string_agg(step::text, ' ' ORDER BY step) FROM dunning_steps", null, Cancel))
            .ShouldBe("1 2 3 5 6 7");

        async Task<string> RunAsync(params string[] arguments)
        {
            var result = await CapsulProgram.RunAsync(environment, Cancel, ["dunning", .. arguments]);
            return result.Output + result.Error;
        }
    }
}
