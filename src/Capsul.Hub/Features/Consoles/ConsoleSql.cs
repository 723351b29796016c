namespace Capsul.Hub.Features.Consoles;

/// <summary>A token that has just been used.</summary>
public sealed record UsedTokenRow(string Actor);

/// <summary>Statements over <c>console_tokens</c>.</summary>
public static class ConsoleSql
{
    public const string CreateToken = """
        -- ConsoleSql.CreateToken
        INSERT INTO console_tokens (token_hash, vm, actor, session, expires)
        VALUES (@hash, @vm, @actor, @session, @expires)
        """;

    /// <summary>Once, for its VM, by its session, in time.</summary>
    public const string UseToken = """
        -- ConsoleSql.UseToken
        DELETE FROM console_tokens
        WHERE token_hash = @hash AND vm = @vm AND expires > @now AND (session IS NULL OR session = @session)
        RETURNING actor
        """;

    public const string DeleteExpired = """
        -- ConsoleSql.DeleteExpired
        DELETE FROM console_tokens WHERE expires <= @now
        """;
}
