using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Bank;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Payments;

/// <summary>Money from the bank: read without trust, booked after a look, and never twice.</summary>
public sealed class BankTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly Settings Settings =
        Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" });

    static byte[] Camt(string message, string head = "") => Encoding.UTF8.GetBytes($$"""
        <?xml version="1.0" encoding="UTF-8"?>{{head}}
        <Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt>
          <Acct><Id><IBAN>DE02120300000000202051</IBAN></Id></Acct>
          <Ntry><Amt Ccy="USD">20.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
            <BookgDt><Dt>2026-02-27</Dt></BookgDt><AcctSvcrRef>R1</AcctSvcrRef>
            <NtryDtls><TxDtls><RltdPties><Dbtr><Pty><Nm>Ada Lovelace</Nm></Pty></Dbtr></RltdPties>
              <RmtInf><Ustrd>{{message}}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>
          <Ntry><Amt Ccy="USD">7.50</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>BOOK</Sts>
            <BookgDt><Dt>2026-02-27</Dt></BookgDt></Ntry>
          <Ntry><Amt Ccy="USD">9</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>PDNG</Sts>
            <BookgDt><Dt>2026-02-27</Dt></BookgDt></Ntry>
          <Ntry><Amt Ccy="EUR">11</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>
            <BookgDt><Dt>2026-02-27</Dt></BookgDt></Ntry>
          <Ntry><Amt Ccy="USD">30.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>
            <BookgDt><DtTm>2026-02-28T01:02:03</DtTm></BookgDt><AcctSvcrRef>R2</AcctSvcrRef><NtryDtls>
            <TxDtls><Amt Ccy="USD">10.00</Amt><RltdPties><Dbtr><Nm>B</Nm></Dbtr></RltdPties></TxDtls>
            <TxDtls><AmtDtls><TxAmt><Amt Ccy="USD">20.00</Amt></TxAmt></AmtDtls></TxDtls></NtryDtls></Ntry>
        </Stmt></BkToCstmrStmt></Document>
        """);

    static async Task<TestDatabase> StartAsync()
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "INSERT INTO accounts (email) VALUES ('ada@example.org'), ('bob@example.org')", null, Cancel);
        return database;
    }

    static Task<Outcome<ImportStatement.Report>> ImportAsync(TestDatabase database, byte[] file) =>
        ImportStatement.RunAsync(database.Db, Settings, "ops", file, TimeProvider.System, Cancel);

    static async Task<string> LinesAsync(TestDatabase database) => string.Join(' ', await database.Db.ListAsync<string>(
        "SELECT amount || ':' || state || ':' || coalesce(email, '') FROM bank_lines ORDER BY id", null, Cancel));

    [Fact]
    public async Task A_statement_is_taken_in_once_and_booked_after_a_look()
    {
        await using var database = await StartAsync();
        var code = ReferenceCode.Shown(await ReferenceCode.OfAsync(database.Db, "ada@example.org", Cancel));
        var file = Camt($"hosting, {code[..6].ToLowerInvariant()} {code[6..]} thanks");
        (await ImportAsync(database, file)).OrThrow()
            .ShouldBe(new ImportStatement.Report(New: 3, Known: 0, Matched: 1, Foreign: 1, Passed: 2));
        (await LinesAsync(database)).ShouldBe("20.00:waiting:ada@example.org 10.00:waiting: 20.00:waiting:");
        (await ImportAsync(database, file)).OrThrow().New.ShouldBe(0);
        (await database.Db.AskAsync<long>("SELECT count(*) FROM payments", null, Cancel)).ShouldBe(0);

        (await AllAsync(database)).OrThrow().ShouldBe(1);
        (await AllAsync(database)).OrThrow().ShouldBe(0);
        (await BookBankLine.KeepAsync(database.Db, "ops", 2, TimeProvider.System, Cancel)).OrThrow();
        (await BookBankLine.KeepAsync(database.Db, "ops", 2, TimeProvider.System, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.Conflict);
        (await BookBankLine.IgnoreAsync(database.Db, "ops", 3, Cancel)).OrThrow();
        (await SumsAsync(database)).ShouldBe("bank=30.00 customer=-20.00 to_be_assigned=-10.00");
        await AssignAsync(database, 2, "nobody@example.org", "There is no account");
        await AssignAsync(database, 3, "bob@example.org", "has been ignored");
        await AssignAsync(database, 1, "bob@example.org", "assigned already");
        (await BookBankLine.AssignAsync(database.Db, "ops", 2, "bob@example.org", TimeProvider.System, Cancel))
            .OrThrow();
        (await SumsAsync(database)).ShouldBe("bank=30.00 customer=-30.00 to_be_assigned=0.00");
        (await ImportAsync(database, file)).OrThrow().New.ShouldBe(0);
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    static Task<Outcome<int>> AllAsync(TestDatabase database) =>
        BookBankLine.AssignMatchedAsync(database.Db, "ops", 9, TimeProvider.System, Cancel);

    static async Task AssignAsync(TestDatabase database, long line, string email, string says) =>
        (await BookBankLine.AssignAsync(database.Db, "ops", line, email, TimeProvider.System, Cancel))
            .Problem!.Message.ShouldContain(says);

    static async Task<string> SumsAsync(TestDatabase database) => string.Join(' ', await database.Db.ListAsync<string>(
        "SELECT a.type || '=' || sum(e.amount) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
            + "GROUP BY a.type ORDER BY a.type", null, Cancel));

    [Fact]
    public async Task Eight_operators_book_a_line_once()
    {
        await using var database = await StartAsync();
        await ImportAsync(database, Camt(""));
        var done = await Task.WhenAll(Enumerable.Range(0, 8).Select(n => BookBankLine.AssignAsync(
            database.Db, "ops", 1, n % 2 == 0 ? "ada@example.org" : "bob@example.org", TimeProvider.System, Cancel)));
        done.Count(d => d.Problem is null).ShouldBe(1);
        (await database.Db.AskAsync<long>("SELECT count(*) FROM payments", null, Cancel)).ShouldBe(1);
    }

    [Theory]
    [InlineData("<!DOCTYPE Document [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>", "&x;")]
    [InlineData("<!DOCTYPE a [<!ENTITY x \"xxxxxxxxxx\"><!ENTITY y \"&x;&x;&x;&x;\">]>", "&y;")]
    [InlineData("", "&unknown;")]
    [InlineData("<a>", "")]
    public void Xml_that_wants_more_than_to_be_read_is_refused(string head, string message) =>
        BankFile.Read(Camt(message, head)).Problem!.Message.ShouldStartWith("This XML cannot be read");

    [Fact]
    public void Other_files_are_refused_in_words()
    {
        BankFile.Read("<html></html>"u8.ToArray()).Problem!.Message.ShouldContain("no statement of a bank");
        BankFile.Read([]).Problem!.Message.ShouldContain("names its columns");
        BankFile.Read(new byte[BankFile.MaxBytes + 1]).Problem!.Message.ShouldContain("at most 4 MiB");
        BankFile.Read([.. "date,amount\n2026-01-01,5,"u8, 0xff]).Problem!.Message.ShouldContain("not UTF-8");
        BankFile.Read("date,amount\n02/03/2026,5"u8.ToArray()).Problem!.Message.ShouldStartWith("Line 2:");
        BankFile.Read("date;amount\n2026-03-02;1,234"u8.ToArray()).Problem!.Message.ShouldContain("not clearly one");
    }

    [Fact]
    public void A_table_is_read_with_quotes_and_any_separator()
    {
        var file = BankFile.Read(Encoding.UTF8.GetBytes("\uFEFFDate;Payer;Amount;Message\r\n"
            + "01.03.2026;\"Ada; \"\"Countess\"\"\";1.234,50;two\r\n01.03.2026;B;-5,00;out\r\n\r\n"
            + "2026-03-02;C;5;same\r\n2026-03-02;C;5;same")).OrThrow();
        file.Passed.ShouldBe(1);
        file.Entries.Select(e => (e.Payer, e.Amount)).ShouldBe([("Ada; \"Countess\"", 1234.5m), ("C", 5), ("C", 5)]);
        file.Identified().Select(e => e.Id).Distinct().Count().ShouldBe(3);
    }

    [Theory]
    [InlineData("12.50", 1250)]
    [InlineData("12,5", 1250)]
    [InlineData("1,234.50", 123_450)]
    [InlineData("1.234,50", 123_450)]
    [InlineData("1 234,50", 123_450)]
    [InlineData("1'234.50", 123_450)]
    [InlineData("-3", -300)]
    [InlineData("1,234", null)]
    [InlineData("1.234.567", null)]
    [InlineData("1.2.3", null)]
    [InlineData("1e5", null)]
    [InlineData("", null)]
    [InlineData("99999999999", null)]
    public void Amounts_have_either_separator_or_are_not_clear(string text, int? cents) =>
        CsvFile.AmountOf(text).ShouldBe(cents / 100m);

    [Fact]
    public void A_reference_code_notices_every_wrong_character_and_every_exchange()
    {
        for (var n = 0; n < 50; n++)
        {
            var code = ReferenceCode.Make();
            ReferenceCode.FindAll($"pay {ReferenceCode.Shown(code)} now").ShouldContain(code);
            for (var at = 0; at < code.Length; at++)
            {
                var other = code[at] == '2' ? '3' : '2';
                ReferenceCode.FindAll(code[..at] + other + code[(at + 1)..]).ShouldBeEmpty();
                if (at == 0 || code[at] == code[at - 1]) continue;
                ReferenceCode.FindAll(code[..(at - 1)] + code[at] + code[at - 1] + code[(at + 1)..]).ShouldBeEmpty();
            }
        }
    }
}
