namespace Capsul.Hub.Features.Home;

/// <summary>Statements of the landing page.</summary>
public static class HomeSql
{
    public const string Images = """
        -- HomeSql.Images
        SELECT title FROM images WHERE NOT deprecated ORDER BY title
        """;
}
