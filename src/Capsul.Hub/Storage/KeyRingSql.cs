namespace Capsul.Hub.Storage;

/// <summary>Statements on <c>key_ring</c>.</summary>
public static class KeyRingSql
{
    public sealed record Entry(string Name, byte[] Content);

    public const string Find = """
        -- KeyRingSql.Find
        SELECT name, content FROM key_ring WHERE name = @name
        """;

    public const string List = """
        -- KeyRingSql.List
        SELECT name, content FROM key_ring WHERE starts_with(name, @prefix) ORDER BY created, name
        """;

    public const string Write = """
        -- KeyRingSql.Write
        INSERT INTO key_ring (name, content) VALUES (@name, @content)
        ON CONFLICT (name) DO UPDATE SET content = EXCLUDED.content
        """;

    public const string Add = """
        -- KeyRingSql.Add
        INSERT INTO key_ring (name, content) VALUES (@name, @content) ON CONFLICT (name) DO NOTHING
        """;
}
