using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Receipts;

/// <summary>To whom the receipts of an account are addressed from now on; all of it empty: to nobody by name.</summary>
public static class SetBillingAddress
{
    public static Outcome<BillingAddressRow> Decide(string? name, string? address, string? taxNumber)
    {
        var row = new BillingAddressRow(
            BillingText.Line(name), BillingText.Lines(address), BillingText.Line(taxNumber));
        return row.Name.Length > 200 ? Wrong("Name", "A name has at most 200 characters.")
            : row.Address.Length > 500 ? Wrong("Address", "An address has at most 500 characters.")
            : row.TaxNumber.Length > 50 ? Wrong("TaxNumber", "A tax number has at most 50 characters.")
            : row;
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    public static Task<Outcome<BillingAddressRow>> RunAsync(
        Db db, string email, string? name, string? address, string? taxNumber, CancellationToken cancel) =>
        db.DecideAsync<BillingAddressRow>(async transaction =>
        {
            if (Decide(name, address, taxNumber).Refused(out var problem, out var row)) return problem;
            if (row == BillingAddressRow.None)
                await transaction.ExecuteAsync(ReceiptSql.ForgetAddress, new { email }, cancel);
            else
                await transaction.ExecuteAsync(ReceiptSql.SetAddress, new
                {
                    email,
                    name = row.Name,
                    address = row.Address,
                    taxNumber = row.TaxNumber,
                }, cancel);
            await transaction.AuditAsync(email, "set_billing_address", "", "", cancel);
            return row;
        }, cancel);
}
