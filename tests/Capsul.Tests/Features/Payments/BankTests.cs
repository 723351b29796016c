using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Bank;
using Capsul.Tests.Support;
using Npgsql;

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

    [Fact]
    public async Task A_line_is_open_again_when_its_payment_is_invalidated_and_taken_when_it_is_validated()
    {
        await using var database = await StartAsync();
        await ImportAsync(database, Camt(""));
        (await BookAsync(database, 1, "ada@example.org")).OrThrow().ShouldBe(1);
        (await BookBankLine.KeepAsync(database.Db, "ops", 2, TimeProvider.System, Cancel)).OrThrow();
        (await BookAsync(database, 2, "ada@example.org")).OrThrow().ShouldBe(2);
        await InvalidateAsync(database, 1, 2);
        (await LinesAsync(database)).ShouldBe("20.00:waiting: 10.00:kept: 20.00:waiting:");
        (await SumsAsync(database)).ShouldBe("bank=10.00 customer=0.00 to_be_assigned=-10.00");
        (await AllAsync(database)).OrThrow().ShouldBe(0, "whose it is has to be decided anew");
        (await database.Db.ListAsync<BankLineRow>(BankLineSql.ListOpen, new { limit = 9 }, Cancel))
            .Select(l => l.Was).ShouldBe([1, 2, null]);
        await ValidateAsync(database, 2);
        (await LinesAsync(database)).ShouldBe("20.00:waiting: 10.00:assigned:ada@example.org 20.00:waiting:");
        (await BookAsync(database, 1, "bob@example.org")).OrThrow().ShouldBe(3);
        (await Should.ThrowAsync<PostgresException>(() => ValidateAsync(database, 1)))
            .MessageText.ShouldContain("line 1 of the bank is payment 3");
        await InvalidateAsync(database, 3);
        await ValidateAsync(database, 1);
        await InvalidateAsync(database, 1);
        (await BookBankLine.KeepAsync(database.Db, "ops", 1, TimeProvider.System, Cancel)).OrThrow();
        (await Should.ThrowAsync<PostgresException>(() => ValidateAsync(database, 1)))
            .ConstraintName.ShouldBe("bank_lines_count_once");
        (await BookAsync(database, 1, "bob@example.org")).OrThrow();
        (await SumsAsync(database)).ShouldBe("bank=30.00 customer=-30.00 to_be_assigned=0.00");
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    /// <summary>The constraint holds also for whoever writes past all of this.</summary>
    [Fact]
    public async Task A_line_is_one_payment_at_most_and_money_that_was_sent_back_is_not_open_again()
    {
        await using var database = await StartAsync();
        await ImportAsync(database, Camt(""));
        (await BookAsync(database, 1, "ada@example.org")).OrThrow();
        foreach (var (sql, constraint) in new[]
        {
            ("INSERT INTO payments (email, dollars, method, bank_line) VALUES ('bob@example.org', 20, 'bank', 1)",
                "payments_bank_line_counts_once"),
            ("UPDATE payments SET bank_line = 2", "payments_stay"),
            ("UPDATE payments SET rest_of = 1", "payments_stay"),
        })
            (await Should.ThrowAsync<PostgresException>(() => database.Db.ExecuteAsync(sql, null, Cancel)))
                .ConstraintName.ShouldBe(constraint);
        await database.Db.InTransactionAsync(transaction => ReturnPayment.InAsync(
            transaction, 1, 5, "paid back", "ops", DateTime.UnixEpoch, Cancel), Cancel);
        (await LinesAsync(database)).ShouldStartWith("20.00:returned:ada@example.org");
        (await BookAsync(database, 1, "bob@example.org")).Problem!.Message.ShouldContain("sent back");
        (await SumsAsync(database)).ShouldBe("bank=15.00 customer=-15.00");
    }

    static Task<Outcome<int>> BookAsync(TestDatabase database, long line, string email) =>
        BookBankLine.AssignAsync(database.Db, "ops", line, email, TimeProvider.System, Cancel);

    static Task InvalidateAsync(TestDatabase database, params int[] ids) => database.Db.ExecuteAsync(
        "UPDATE payments SET invalidated = TRUE WHERE id = ANY(@ids)", new { ids }, Cancel);

    static Task ValidateAsync(TestDatabase database, int id) => database.Db.ExecuteAsync(
        "UPDATE payments SET invalidated = FALSE WHERE id = @id", new { id }, Cancel);

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
        BankFile.Read("<html></html>"u8.ToArray()).Problem!.Message.ShouldContain("not a bank statement");
        BankFile.Read([]).Problem!.Message.ShouldContain("names its columns");
        BankFile.Read(new byte[BankFile.MaxBytes + 1]).Problem!.Message.ShouldContain("at most 4 MiB");
        BankFile.Read([.. "date,amount\n2026-01-01,5,"u8, 0xff]).Problem!.Message.ShouldContain("not UTF-8");
        BankFile.Read("date,amount\n02/03/2026,5"u8.ToArray()).Problem!.Message.ShouldStartWith("Line 2:");
        BankFile.Read("date;amount\n2026-03-02;1,234"u8.ToArray()).Problem!.Message.ShouldContain("not clearly one");
    }

    static byte[] Entry(string inside) => Encoding.UTF8.GetBytes($"""
        <Document><BkToCstmrStmt><Stmt><Ntry><CdtDbtInd>CRDT</CdtDbtInd><AcctSvcrRef>R7</AcctSvcrRef>{inside}</Ntry>
        </Stmt></BkToCstmrStmt></Document>
        """);

    const string Day = "<BookgDt><Dt>2026-02-27</Dt></BookgDt>";

    [Theory]
    [InlineData(Day, "it has no amount")]
    [InlineData($"<Amt>x</Amt>{Day}", "\"x\" is not an amount")]
    [InlineData($"<Amt>1e3</Amt>{Day}", "\"1e3\" is not an amount")]
    [InlineData($"<Amt>10000000000</Amt>{Day}", "too large")]
    [InlineData($"<Amt>99999999999999999999999999999999</Amt>{Day}", "is not an amount")]
    [InlineData("<Amt>5</Amt><BookgDt><Dt>2026-2</Dt></BookgDt>", "it has no date")]
    [InlineData("<Amt>5</Amt><BookgDt><DtTm/></BookgDt>", "it has no date")]
    [InlineData("<Amt>5</Amt><BookgDt><Dt>0001-01-01</Dt></BookgDt>", "it has no date")]
    [InlineData("<Amt>5</Amt>", "it has no date")]
    public void An_entry_that_cannot_be_read_is_named(string inside, string says)
    {
        var problem = BankFile.Read(Entry(inside)).Problem!;
        problem.Message.ShouldStartWith("Entry 1 (R7): ");
        problem.Message.ShouldContain(says);
        problem.Field.ShouldBe("Statement");
    }

    [Theory]
    [InlineData("0.00"), InlineData("0"), InlineData("-5.00")]
    public async Task An_entry_of_nothing_is_passed_over(string amount)
    {
        await using var database = await StartAsync();
        (await ImportAsync(database, Entry($"<Amt>{amount}</Amt>{Day}"))).OrThrow().ShouldBe(
            new ImportStatement.Report(New: 0, Known: 0, Matched: 0, Foreign: 0, Passed: 1));
        (await ImportAsync(database, Encoding.UTF8.GetBytes($"date,amount\n2026-02-27,{amount}"))).OrThrow().Passed
            .ShouldBe(1);
        (await ImportAsync(database, Entry($"<Amt>5.001</Amt>{Day}"))).Problem!.Message
            .ShouldBe("The entry of 2026-02-27 of 5.001 has more decimal places than the currency has.");
    }

    /// <summary>A message is cut where it is too long, and never in the middle of a character.</summary>
    [Fact]
    public async Task What_is_cut_can_be_kept()
    {
        await using var database = await StartAsync();
        var text = string.Concat(Enumerable.Repeat("\U0001F600", 400));
        foreach (var message in (string[])[text, "x" + text])
            (await ImportAsync(database, Encoding.UTF8.GetBytes($"date,amount,message\n2026-02-27,5,{message}")))
                .OrThrow().New.ShouldBe(1);
    }

    /// <summary>Whatever a file says, it is read, or refused in words, and the database takes what was read.</summary>
    [Fact]
    public async Task Generated_nonsense_is_read_or_refused_in_words()
    {
        await using var database = await StartAsync();
        var (random, read) = (new Random(7), 0);
        byte[][] files = [Camt("hosting"), Entry($"<Amt>5</Amt>{Day}"),
            "date;amount;message;payer;currency\n2026-02-27;5,00;\"a\";b;USD\n27.02.2026;1.000,00;;;\n"u8.ToArray()];
        string[] bits = ["", "0", "9999999999", "-", ".", ",", "1e9", "\"", ";", "\n", "\0", "\u00a0", "\ud83d\ude00",
            "<Amt>", "</Amt>", "<Dt/>", "<TxDtls>", "&#0;", "&amp;", "]]>", "<!--", "2026-13-40", "\ufeff", "CRDT"];
        for (var n = 0; n < 3000; n++)
        {
            var text = Encoding.UTF8.GetString(files[n % files.Length]);
            for (var changes = random.Next(1, 4); changes > 0; changes--)
            {
                var (at, bit) = (random.Next(text.Length), bits[random.Next(bits.Length)]);
                text = text[..at] + bit + text[Math.Min(text.Length, at + random.Next(12))..];
            }
            var file = Encoding.UTF8.GetBytes(text);
            if (n % 5 == 0) file[random.Next(file.Length)] = (byte)random.Next(256);
            var outcome = BankFile.Read(file);
            (outcome.Problem?.Message.Length ?? 1).ShouldBeInRange(1, 1000);
            if (outcome.Problem is not null || n % 8 > 0) continue;
            await ImportAsync(database, file);
            read++;
        }
        read.ShouldBeGreaterThan(10);
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
