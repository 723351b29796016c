using Spectre.Console;

namespace Capsul.Cli;

/// <summary>Tables for people.</summary>
static class Tables
{
    /// <summary>
    /// Columns of a table that goes to a file or another program: it is not folded to a terminal that is not there.
    /// </summary>
    const int WidthWithoutTerminal = 240;

    public static void Write(Table table)
    {
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = WidthWithoutTerminal;
        AnsiConsole.Write(table);
    }
}
