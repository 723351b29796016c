using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Reconcilers;

public sealed class DunningSweepTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static DunningSweep SweepOf(VmRows rows) =>
        new(rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<DunningSweep>.Instance);

    /// <summary>A running VM, and nothing left to pay for it with.</summary>
    static async Task<string> BrokeAsync(VmRows rows)
    {
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        return vm;
    }

    static Task<int> LookAsync(VmRows rows) => SweepOf(rows).LookAsync(rows.Epoch, Cancel);

    /// <summary>The Hub is at work for some hours.</summary>
    static async Task WorkAsync(VmRows rows, double hours)
    {
        // As seconds of the clock: a round for each minute would take as long as it says.
        rows.Time.Advance(TimeSpan.FromHours(hours));
        await rows.Db.ExecuteAsync("UPDATE dunning_clock SET seconds = seconds + @seconds, ticked = @now",
            new { seconds = (long)(hours * 3600), now = rows.Now }, Cancel);
        await LookAsync(rows);
    }

    static Task SendMailsAsync(VmRows rows) => rows.Db.ExecuteAsync(
        "UPDATE mails SET sent = @now, body = '' WHERE sent IS NULL AND given_up IS NULL", new { now = rows.Now },
        Cancel);

    static async Task<int> StepAsync(VmRows rows) => await rows.Db.FindAsync<int>(
        "SELECT coalesce((SELECT step FROM dunning WHERE email = @email), 0)::integer",
        new { email = VmRows.Email }, Cancel);

    static Task<int> StuckAsync(VmRows rows) =>
        rows.CountAsync("alerts", $"kind = '{RaiseAlert.DunningStuck}' AND cleared IS NULL", Cancel);

    static Task PayAsync(VmRows rows, decimal dollars = 100) => rows.Db.ExecuteAsync(
        "INSERT INTO payments (email, dollars, method) VALUES (@email, @dollars, 'cash')",
        new { email = VmRows.Email, dollars }, Cancel);

    /// <summary>Until a step is taken.</summary>
    static async Task ReachAsync(VmRows rows, int step)
    {
        for (var n = 0; await StepAsync(rows) < step; n++)
        {
            n.ShouldBeLessThan(20);
            await SendMailsAsync(rows);
            await LookAsync(rows);
            await WorkAsync(rows, 200);
        }
    }

    static async Task StoppedAsync(VmRows rows, string vm)
    {
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.WakeAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopped");
    }

    [Fact]
    public async Task An_account_is_emailed_stopped_and_deleted_each_after_the_email_before()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await LookAsync(rows);
        (await StepAsync(rows)).ShouldBe(1);
        await WorkAsync(rows, 1000);
        (await StepAsync(rows)).ShouldBe(1, "its email is not sent yet");
        await ReachAsync(rows, 3);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        await SendMailsAsync(rows);
        await LookAsync(rows);
        await WorkAsync(rows, 71.9);
        (await StepAsync(rows)).ShouldBe(3, "the grace is not over");
        await WorkAsync(rows, 0.2);
        (await StepAsync(rows)).ShouldBe(4);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopping");
        await StoppedAsync(rows, vm);
        await ReachAsync(rows, 5);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopped", "its disk is kept");
        await ReachAsync(rows, 6);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("deleting");
        var subjects = await rows.Db.ListAsync<string>("SELECT subject FROM mails ORDER BY id", null, Cancel);
        subjects.Count.ShouldBe(6);
        subjects[^1].ShouldBe("Your capsuls at Capsul are being deleted");
    }

    [Fact]
    public async Task Who_pays_gets_back_what_was_running_and_nothing_else()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 4);
        (await rows.ChangeAsync(VmActions.Start, vm, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.InsufficientFunds);
        await StoppedAsync(rows, vm);
        (await rows.ChangeAsync(VmActions.Start, vm, Cancel)).Problem!.Message.ShouldContain("balance is used up");
        await PayAsync(rows);
        await LookAsync(rows);
        (await StepAsync(rows)).ShouldBe(0);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("starting");
        await LookAsync(rows);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.WakeAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        await LookAsync(rows);
        (await rows.CountAsync("dunning_stops", "TRUE", Cancel)).ShouldBe(0);
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).Problem.ShouldBeNull();
        await StoppedAsync(rows, vm);
        (await LookAsync(rows)).ShouldBe(0, "its owner stopped it");
    }

    [Fact]
    public async Task A_payment_while_it_is_being_stopped_starts_it_again()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 4);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopping");
        await PayAsync(rows);
        await LookAsync(rows);
        (await rows.CountAsync("dunning_stops", "TRUE", Cancel)).ShouldBe(1);
        await StoppedAsync(rows, vm);
        await LookAsync(rows);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("starting");
    }

    [Fact]
    public async Task A_Hub_that_was_away_skips_no_step_and_shortens_no_grace()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 3);
        await SendMailsAsync(rows);
        await LookAsync(rows);
        rows.Time.Advance(TimeSpan.FromDays(30));
        await LookAsync(rows);
        (await StepAsync(rows)).ShouldBe(3);
        (await rows.Db.FindAsync<long>("SELECT c.seconds - d.told FROM dunning_clock c, dunning d", null, Cancel))
            .ShouldBeLessThanOrEqualTo(120, "a month without a Hub is a round of its clock");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task An_email_that_cannot_be_delivered_stops_nothing_until_somebody_was_told()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await BrokeAsync(rows);
        await ReachAsync(rows, 3);
        await rows.Db.ExecuteAsync(
            "UPDATE mails SET given_up = @now WHERE sent IS NULL", new { now = rows.Now }, Cancel);
        await WorkAsync(rows, 1000);
        (await StepAsync(rows)).ShouldBe(3);
        var alerts = new AlertWatch(
            rows.Db, rows.Fence, rows.Settings, new LinkAuthority(rows.Now.AddYears(10)), rows.Time);
        await alerts.LookAsync(rows.Epoch, Cancel);
        (await StuckAsync(rows)).ShouldBe(1);
        (await TellDunning.RunAsync(rows.Db, "test", VmRows.Email, "", Cancel)).Problem.ShouldNotBeNull();
        (await TellDunning.RunAsync(rows.Db, "test", VmRows.Email, "by phone", Cancel)).Problem.ShouldBeNull();
        await WorkAsync(rows, 71);
        (await StepAsync(rows)).ShouldBe(3, "the grace begins now");
        await WorkAsync(rows, 2);
        (await StepAsync(rows)).ShouldBe(4);
        await alerts.LookAsync(rows.Epoch, Cancel);
        (await StuckAsync(rows)).ShouldBe(0);
    }

    [Fact]
    public async Task What_is_unknown_is_neither_stopped_nor_deleted()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 3);
        await SendMailsAsync(rows);
        await LookAsync(rows);
        // The bill of another VM goes on.
        await rows.Db.ExecuteAsync("UPDATE vms SET observed = 'unknown'", null, Cancel);
        await WorkAsync(rows, 100);
        (await StepAsync(rows)).ShouldBe(4);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        await ReachAsync(rows, 6);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        await rows.Db.ExecuteAsync("UPDATE vms SET observed = 'on'", null, Cancel);
        await LookAsync(rows);
        (await rows.FindAsync(vm, Cancel)).State.ShouldNotBe("running");
    }

    [Fact]
    public async Task A_payment_just_before_the_deletion_prevents_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 5);
        await StoppedAsync(rows, vm);
        await rows.Db.ExecuteAsync("UPDATE dunning SET step = 6", null, Cancel);
        // The sweep has decided to delete, and waits for the payment that is being recorded.
        await using var connection = await rows.Db.OpenAsync(Cancel);
        await using var payment = await connection.BeginTransactionAsync(Cancel);
        await payment.ExecuteAsync("INSERT INTO payments (email, dollars, method) VALUES (@email, 10, 'cash')",
            new { email = VmRows.Email }, Cancel);
        var deletion = rows.Fence.InTransactionAsync(rows.Epoch, transaction => TakeStep.DeleteAsync(transaction,
            new DunnedVmRow(vm, VmRows.Email), rows.Settings, rows.Time, Cancel), Cancel);
        await Until.TrueAsync("the deletion waits for the payment", TimeSpan.FromSeconds(30), () =>
            rows.Db.FindAsync<bool>("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)", null, Cancel));
        await payment.CommitAsync(Cancel);
        (await deletion).ShouldBeFalse();
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopped");
        await LookAsync(rows);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("starting");
    }

    [Fact]
    public async Task Held_and_paused_accounts_go_no_further()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 3);
        await SendMailsAsync(rows);
        await LookAsync(rows);
        (await HoldDunning.RunAsync(rows.Db, "test", VmRows.Email, "0", "x", rows.Time, Cancel))
            .Problem.ShouldNotBeNull();
        (await HoldDunning.RunAsync(rows.Db, "test", "no@example.org", "9", "x", rows.Time, Cancel))
            .Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await HoldDunning.RunAsync(rows.Db, "test", VmRows.Email, "9", "pays by transfer", rows.Time, Cancel))
            .Problem.ShouldBeNull();
        await WorkAsync(rows, 100);
        (await StepAsync(rows)).ShouldBe(3);
        (await HoldDunning.ReleaseAsync(rows.Db, "test", VmRows.Email, Cancel)).Problem.ShouldBeNull();
        await LookAsync(rows);
        (await StepAsync(rows)).ShouldBe(3, "the time of a hold is not counted");
        (await PauseDunning.RunAsync(rows.Db, "test", "a migration", Cancel)).Problem.ShouldBeNull();
        var before = await rows.Db.FindAsync<long>("SELECT seconds FROM dunning_clock", null, Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        await LookAsync(rows);
        (await rows.Db.FindAsync<long>("SELECT seconds FROM dunning_clock", null, Cancel))
            .ShouldBe(before, "nor that of a pause");
        (await PauseDunning.ResumeAsync(rows.Db, "test", Cancel)).Problem.ShouldBeNull();
        await WorkAsync(rows, 71);
        (await StepAsync(rows)).ShouldBe(3);
        await WorkAsync(rows, 2);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopping");
    }

    [Fact]
    public async Task The_table_refuses_to_act_without_notice()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        foreach (var (sql, constraint) in new[]
        {
            ("UPDATE dunning_steps SET runway_hours = 5 WHERE action = 'stop'", "dunning_steps_act_at_zero"),
            ("UPDATE dunning_steps SET after_hours = 23 WHERE action = 'delete'", "dunning_steps_grace"),
            ("UPDATE dunning_steps SET runway_hours = 200 WHERE step = 2", "dunning_steps_in_order"),
            ("DELETE FROM dunning_steps WHERE step = 3", "dunning_steps_notice"),
            ("INSERT INTO dunning_steps VALUES (7, 'mail', 'deleted', 0, 0)", "dunning_steps_delete_is_last"),
        })
        {
            var error = await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel));
            error.ConstraintName.ShouldBe(constraint);
        }
        (await ChangeStep.RunAsync(rows.Db, "test", 6, null, "23", Cancel)).Problem!.Message.ShouldContain("24 hours");
        (await ChangeStep.RunAsync(rows.Db, "test", 6, "-1", null, Cancel)).Problem!.Field.ShouldBe("Runway");
        (await ChangeStep.RunAsync(rows.Db, "test", 9, null, null, Cancel))
            .Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await ChangeStep.RunAsync(rows.Db, "test", 6, null, "96", Cancel)).Problem.ShouldBeNull();
        (await ChangeStep.RemoveAsync(rows.Db, "test", 3, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await ChangeStep.RemoveAsync(rows.Db, "test", 6, Cancel)).Problem.ShouldBeNull();
    }

    [Fact]
    public async Task An_account_that_fails_keeps_no_other_from_its_turn()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        await ReachAsync(rows, 3);
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES ('aa@example.org');
            INSERT INTO dunning (email, step, taken) VALUES ('aa@example.org', 1, now());
            INSERT INTO account_totals (email) VALUES ('aa@example.org') ON CONFLICT DO NOTHING;
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'broken'; END $$;
            CREATE TRIGGER refuse BEFORE UPDATE OF step ON dunning FOR EACH ROW WHEN (OLD.email = 'aa@example.org')
                EXECUTE FUNCTION refuse();
            """, null, Cancel);
        await SendMailsAsync(rows);
        await LookAsync(rows);
        await WorkAsync(rows, 100);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("stopping");
        (await rows.CountAsync("dunning", "email = 'aa@example.org' AND step = 1", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task A_Hub_that_lost_the_seat_takes_no_step()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await BrokeAsync(rows);
        var before = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        await Should.ThrowAsync<SeatLostException>(() => SweepOf(rows).LookAsync(before, Cancel));
        (await StepAsync(rows)).ShouldBe(0);
    }

    /// <summary>
    /// Money comes and goes, the Hub works and rests, emails are sent or not. Whatever happens: nothing is stopped or
    /// deleted sooner than the table says after an email was handed over, and what was stopped starts when it is paid.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Nothing_is_stopped_or_deleted_without_notice_whatever_happens(int seed)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await BrokeAsync(rows);
        var random = new Random(seed);
        var (told, last, furthest) = (-1.0, 0, 0);
        var worked = 0.0;
        for (var n = 0; n < 120; n++)
        {
            var hours = random.Next(1, 60);
            switch (random.Next(6))
            {
                case 0 when random.Next(4) == 0: await PayAsync(rows, random.Next(1, 3) / 10m); break;
                case 1: rows.Time.Advance(TimeSpan.FromHours(hours)); worked += 2.0 / 60; break;
                case 2: await SendMailsAsync(rows); break;
                default: worked += hours; await WorkAsync(rows, hours); break;
            }
            await LookAsync(rows);
            worked += 2.0 / 60;
            var (step, state) = (await StepAsync(rows), (await rows.FindAsync(vm, Cancel)).State);
            if (step > last) step.ShouldBe(last + 1, $"seed {seed}: no step is left out");
            if (step is 4 or 6 && step > last)
            {
                told.ShouldBeGreaterThan(-1, $"seed {seed}: step {step} without an email");
                (worked - told).ShouldBeGreaterThanOrEqualTo(71.9, $"seed {seed}: step {step}");
            }
            var isTold = await rows.CountAsync("dunning", "told IS NOT NULL", Cancel) == 1;
            told = step != last ? -1 : told;
            if (isTold && told < 0) told = worked;
            (last, furthest) = (step, Math.Max(step, furthest));
            if (state == "stopping") await StoppedAsync(rows, vm);
            else if (state == "starting")
            {
                await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
                await rows.WakeAsync(vm, Cancel);
                await rows.SettleAsync(Cancel);
            }
            else if (state == "deleting")
            {
                step.ShouldBe(6);
                break;
            }
            if (step < 4) state.ShouldNotBe("stopped", $"seed {seed}: it was not started");
        }
        furthest.ShouldBeGreaterThanOrEqualTo(4, $"seed {seed} tries nothing");
    }
}
