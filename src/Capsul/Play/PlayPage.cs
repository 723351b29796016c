using System.Globalization;
using System.Net;

namespace Capsul.Play;

/// <summary>The page on which one pays with play money.</summary>
static class PlayPage
{
    public static IResult Show(PlayBooks books, string id)
    {
        if (books.Sessions.FirstOrDefault(s => s.Id == id) is not { } session) return Results.NotFound();
        var amount = session.Amount.ToString(CultureInfo.InvariantCulture);
        var buttons = (session.Status, session.IsPaid) switch
        {
            ("open", _) => Button("pay", "Pay with play money") + Button("later", "Pay, but let it arrive later")
                + Button("cancel", "Do not pay"),
            ("complete", false) => Button("arrive", "Let the money arrive"),
            var (status, _) => $"<p>This checkout is {status}.</p>",
        };
        return Frame($$"""
            <p>To pay: <strong>{{amount[..Math.Max(0, amount.Length - 2)]}}.{{amount.PadLeft(2, '0')[^2..]}}
              {{WebUtility.HtmlEncode(session.Currency.ToUpperInvariant())}}</strong> for
              {{WebUtility.HtmlEncode(session.Email)}}</p>
            <form method="post">{{buttons}}</form>
            """);
    }

    /// <summary>The page on which one enters a card that is none.</summary>
    public static IResult ShowCardPage(PlayBooks books, string id) =>
        books.CardPages.FirstOrDefault(p => p.Id == id) is not { } page ? Results.NotFound()
        : Frame(page.Status != "open" ? $"<p>This page is {page.Status}.</p>" : $$"""
            <p>To save a card for automatic charges:</p>
            <form method="post">{{string.Concat(PlayCard.Kinds.Select(k => Button(k.Decline, k.Title)))}}
              {{Button("cancel", "Do not save a card")}}</form>
            """);

    public static IResult EnterCard(PlayBooks books, string id, string choice)
    {
        if (books.CardPages.FirstOrDefault(p => p.Id == id) is not { } page) return Results.NotFound();
        if (choice == "cancel") return Results.Redirect(page.CancelUrl);
        books.EnterCard(id, PlayCard.Kinds.FirstOrDefault(k => k.Decline == choice).Decline ?? "");
        return Results.Redirect(page.SuccessUrl);
    }

    static IResult Frame(string content) => Results.Content($$"""
        <!doctype html>
        <html lang="en">
        <head>
          <meta charset="utf-8">
          <title>Play money</title>
          <meta name="viewport" content="width=device-width, initial-scale=1">
          <meta name="color-scheme" content="light dark">
          <style>
            body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem }
            h1 { border: 4px dashed; padding: 1rem; text-align: center }
            button { font: inherit; padding: .6rem 1rem; margin: .3rem 0; width: 100%; cursor: pointer }
          </style>
        </head>
        <body>
          <main>
            <h1>THIS IS PLAY MONEY</h1>
            <p>A pretended payment provider of this demonstration. <strong>No card is charged, and you are asked for
              none.</strong></p>
            {{content}}
          </main>
        </body>
        </html>
        """,
        "text/html; charset=utf-8");

    static string Button(string choice, string text) =>
        $"<button name=\"choice\" value=\"{choice}\">{text}</button>";

    public static IResult Choose(PlayBooks books, string id, string choice)
    {
        if (books.Sessions.FirstOrDefault(s => s.Id == id) is not { } session) return Results.NotFound();
        if (choice == "cancel") return Results.Redirect(session.CancelUrl);
        if (choice == "pay") books.Pay(id);
        else if (choice == "arrive") books.Arrive(id);
        else if (session.Status == "open") books.PayLater(id);
        return Results.Redirect(session.SuccessUrl);
    }
}
