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
        ["account_is_approved"] = new(ProblemKind.Forbidden,
            "Your account has not been approved yet. You get an email as soon as an operator has done that."),
        ["account_is_open"] = new(ProblemKind.Conflict,
            "This account is being closed: nothing can be created or paid in. Reopen it on the account page first."),
        ["vouchers_payment_once"] = new(ProblemKind.Conflict, "This voucher was redeemed already."),
        ["solidarity_fund_not_below_zero"] = new(ProblemKind.Conflict,
            "The solidarity fund does not hold that much any more."),
        ["fund_movements_key_once"] = new(ProblemKind.Conflict, "This was done already."),
        ["sponsorships_once"] = new(ProblemKind.Conflict, "This account is sponsored already."),
        ["account_closings_once"] = new(ProblemKind.Conflict, "This account is being closed already."),
        ["payments_dollars_is_an_amount"] = new(ProblemKind.Invalid,
            "This amount has too many digits or decimal places."),
        ["sellers_active_from_once"] =
            new(ProblemKind.Conflict, "There is a line from that day on. Choose a later day.") { Field = "From" },
        ["price_levels_name_once"] =
            new(ProblemKind.Conflict, "There is a level with that name already.") { Field = "Name" },
        ["level_choices_are_offered"] =
            new(ProblemKind.Conflict, "This price level is no longer offered.") { Field = "Level" },
        ["prices_once"] = new(ProblemKind.Conflict, "There is a price from that time on already. Withdraw it first."),
        ["dunning_steps_in_order"] = new(ProblemKind.Invalid,
            "A later step is not taken with more time left than an earlier one."),
        ["dunning_steps_notice"] = new(ProblemKind.Conflict,
            "Before capsuls are stopped or deleted, an email is sent when nothing is left: it cannot go or be later."),
        ["dunning_steps_told"] = new(ProblemKind.Conflict, "Accounts are at the step before, and their email says that "
            + "they have more time. Add an email between them first, or wait until nobody is there."),
        ["dunning_steps_delete_is_last"] = new(ProblemKind.Conflict, "Nothing comes after the step that deletes."),
        ["dunning_steps_act_at_zero"] = new(ProblemKind.Invalid,
            "Capsuls are stopped or deleted only when nothing is left: the time left of this step is 0."),
        ["dunning_steps_grace"] = new(ProblemKind.Invalid,
            "Capsuls are stopped or deleted a day after the email before, or later: at least 24 hours."),
        ["sites_pkey"] = new(ProblemKind.Conflict, "This name is taken. Choose another.") { Field = "Name" },
        ["vm_extras_of_living_vm"] = new(ProblemKind.Conflict, "This capsul is being deleted."),
        ["ports_pkey"] = new(ProblemKind.Conflict, "This port is open already.") { Field = "Port" },
        ["ports_of_host_once"] = new(ProblemKind.Conflict, "That port has just been taken. Try again."),
        ["ports_of_hub_once"] = new(ProblemKind.Conflict, "That port has just been taken. Try again."),
        ["reverse_names_of_vm"] = new(ProblemKind.Conflict, "Your capsul no longer has this address."),
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
