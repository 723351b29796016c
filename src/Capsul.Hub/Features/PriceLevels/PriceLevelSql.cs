using Capsul.Hub.Web;

namespace Capsul.Hub.Features.PriceLevels;

/// <summary>A price level.</summary>
/// <param name="Percent">Of the standard price.</param>
/// <param name="Retired">Nobody chooses it any more since then.</param>
/// <param name="Accounts">That have it.</param>
public sealed record PriceLevelRow(
    long Id, string Name, int Percent, DateTime Created, DateTime? Retired, long Accounts)
{
    /// <summary>What something costs at a level, in whole units of the currency: the same as the database's.</summary>
    public static decimal At(decimal dollars, int percent) => percent == 100 ? dollars
        : decimal.Round(dollars * percent / 100, Show.Currency.Decimals, MidpointRounding.AwayFromZero);
}

/// <summary>What an account has chosen.</summary>
/// <param name="Level">Null: the standard price.</param>
/// <param name="Recent">Choices of the last day.</param>
public sealed record ChosenLevelRow(long? Level, string? Name, int Percent, long Recent);

/// <summary>Statements over <c>price_levels</c> and <c>level_choices</c>.</summary>
public static class PriceLevelSql
{
    const string Columns = """
        l.id, l.name, l.percent, l.created, l.retired, (SELECT count(*) FROM (
            SELECT DISTINCT ON (c.email) c.level FROM level_choices c ORDER BY c.email, c.id DESC) AS n
            WHERE n.level = l.id) AS accounts
        """;

    public const string List = $"""
        -- PriceLevelSql.List
        SELECT {Columns} FROM price_levels l ORDER BY l.retired IS NOT NULL, l.percent, l.id
        """;

    public const string Offered = """
        -- PriceLevelSql.Offered
        SELECT l.id, l.name, l.percent, l.created, l.retired, 0::bigint AS accounts FROM price_levels l
        WHERE l.retired IS NULL ORDER BY l.percent, l.id
        """;

    /// <summary>Locked, so that it is not retired meanwhile.</summary>
    public const string Find = """
        -- PriceLevelSql.Find
        SELECT l.id, l.name, l.percent, l.created, l.retired, 0::bigint AS accounts FROM price_levels l
        WHERE l.id = @id FOR SHARE
        """;

    public const string Add = """
        -- PriceLevelSql.Add
        INSERT INTO price_levels (name, percent, created) VALUES (@name, @percent, @now) RETURNING id
        """;

    public const string Retire = """
        -- PriceLevelSql.Retire
        UPDATE price_levels SET retired = @now WHERE id = @id AND retired IS NULL RETURNING name
        """;

    /// <summary>One row, also for who has chosen nothing.</summary>
    public const string Chosen = """
        -- PriceLevelSql.Chosen
        SELECT c.level, l.name, coalesce(l.percent, 100) AS percent,
            (SELECT count(*) FROM level_choices r WHERE r.email = @email AND r.chosen > @since) AS recent
        FROM (SELECT 1) AS one
            LEFT JOIN (SELECT level FROM level_choices WHERE email = @email ORDER BY id DESC LIMIT 1) AS c ON TRUE
            LEFT JOIN price_levels l ON l.id = c.level
        """;

    public const string Choose = """
        -- PriceLevelSql.Choose
        INSERT INTO level_choices (email, level, chosen) VALUES (@email, @level, @now)
        """;
}
