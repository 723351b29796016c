using Spectre.Console;

namespace Capsul.Cli;

/// <summary>Tables for people.</summary>
static class Tables
{
    /// <summary>Width of a table in a file or pipe, large enough that lines are not wrapped.</summary>
    const int WidthWithoutTerminal = 240;

    public static void Write(Table table)
    {
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = WidthWithoutTerminal;
        AnsiConsole.Write(table);
    }
}
