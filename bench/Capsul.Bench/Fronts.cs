namespace Capsul.Bench;

/// <summary>
/// The ways to the verb <c>sql</c>. The script <c>capsul</c> is what people call; it goes to the verb as native code
/// where that has been compiled, and to the program otherwise. The program is the one in its own folder: the copy
/// beside this bench is not compiled ahead of time.
/// </summary>
static class Fronts
{
    static string Root { get; } =
        Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "..", ".."));

    public static string Script { get; } = Path.Combine(Root, "capsul");

    public static string Program { get; } =
        Path.Combine(Root, "src", "Capsul", "bin", "Release", "net10.0", "capsul");

    /// <summary>Null where it could not be compiled.</summary>
    public static string? Native { get; } =
        Path.Combine(Root, ".capsul", "native", "capsul") is var file && File.Exists(file) ? file : null;

    /// <summary>What the script goes to.</summary>
    public static string Sql => Native ?? Program;
}
