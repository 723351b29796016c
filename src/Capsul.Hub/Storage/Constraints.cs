using Capsul.Foundation;
using Npgsql;

namespace Capsul.Hub.Storage;

/// <summary>
/// What people are told when the database refuses. Constraints enforce the invariants; this one table maps constraint
/// names to sentences. A violation that is not listed is a bug and stays an exception.
/// </summary>
public static class Constraints
{
    static readonly Dictionary<string, Problem> Sentences = new(StringComparer.Ordinal)
    {
        ["ssh_keys_name_once"] = new(ProblemKind.Conflict, "You already have a key with that name."),
        ["ssh_keys_key_once"] = new(ProblemKind.Conflict, "You have already added this key."),
        ["vms_name_once"] = new(ProblemKind.Conflict, "You already have a capsul with that name.") { Field = "Name" },
        ["vms_adopt_once"] = new(ProblemKind.Conflict, "This machine is being adopted already."),
        ["payments_dollars_is_an_amount"] = new(ProblemKind.Invalid,
            "This amount has too many digits or decimal places."),
        ["operations_one_for_a_vm"] = new(ProblemKind.Conflict,
            "Another operation on this capsul is still running; wait until it has finished."),
    };

    /// <summary>All names in the table; a test checks that each exists in the schema.</summary>
    public static IEnumerable<string> Names => Sentences.Keys;

    public static Problem? Explain(PostgresException error) =>
        error.SqlState is PostgresErrorCodes.UniqueViolation or PostgresErrorCodes.CheckViolation
            or PostgresErrorCodes.ExclusionViolation
            or PostgresErrorCodes.ForeignKeyViolation
            && error.ConstraintName is { } name ? Sentences.GetValueOrDefault(name) : null;
}
