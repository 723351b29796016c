using System.Runtime.CompilerServices;
using Dapper;

namespace Capsul.Tests.Support;

/// <summary>
/// All test databases have the same schema: what Dapper has compiled for a statement is used for all of them, instead
/// of once for each of two thousand.
/// </summary>
sealed class SharedStatements : IEqualityComparer<string>
{
    [ModuleInitializer]
    internal static void Share() => SqlMapper.ConnectionStringComparer = new SharedStatements();

    public bool Equals(string? x, string? y) => true;

    public int GetHashCode(string obj) => 0;
}
